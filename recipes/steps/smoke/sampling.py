"""How a request is sampled: every field, stated. Pure."""

from recipes.steps.smoke.profile import Sampling


def pinned(sampling: Sampling, at: int) -> dict[str, object]:
    """Return every sampling field of request ``at``."""
    # A field that is left out takes its value from the tree's generation_config.json,
    # unseen: so also those stand here that the recipe never sets.
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed + at,
        "stream": False,
    }
