"""What figures of one drive cannot be together. Pure.

    contradiction(evidence)     # "(length - 1) / k is 0.70 and the rate is 0.80", or None

A server that drafts at some steps only, a counter of another request and a figure of another
profile all show here before they show anywhere else.
"""

from recipes.formats.evidence import Evidence

LENGTH, RATE, FIRST, SECOND = (
    "acceptance_length",
    "acceptance_rate",
    "acceptance_pos_0",
    "acceptance_pos_1",
)
SLACK = 0.02
"""How far (length - 1) / k may be from the rate: a draft at the end of a context is shorter."""


def speculative_tokens(evidence: Evidence) -> int | None:
    """Return the k that a smoke served with, None where it does not say."""
    told = evidence.facts.get("speculative_tokens")
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def contradiction(evidence: Evidence) -> str | None:
    """Return what is impossible in the acceptance of ``evidence``, None when nothing is."""
    counted = evidence.facts.get("drafting")
    if isinstance(counted, dict) and counted.get("drafts") == 0:
        return "nothing was drafted"
    k = speculative_tokens(evidence)
    value = {m.name: m.value for m in evidence.measurements}
    length, rate = value.get(LENGTH), value.get(RATE)
    if length is None:
        return None
    if k is not None and not 1 <= length <= 1 + k:
        return f"an acceptance length of {length:.4g} cannot be with {k} draft tokens"
    if k and rate is not None and abs((length - 1) / k - rate) > SLACK:
        return f"(length - 1) / k is {(length - 1) / k:.4f} and the rate is {rate:.4f}"
    if value.get(SECOND, 0.0) > value.get(FIRST, 1.0):
        return f"position 1 is kept more often ({value[SECOND]:.4f}) than position 0 ({value[FIRST]:.4f})"
    return None
