"""The profile that a smoke measured, read back from its evidence: serving and sampling.

The card's command is made of what was measured, so it cannot drift from the figures.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from release.digest import Json
from release.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The sampling that acceptance was measured with, and that is recommended."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """The server that smoke measured, with the same keys as in the recipe."""

    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_bytes: int
    quantization: str
    speculative_tokens: int
    enforce_eager: bool
    language_model_only: bool
    prefix_caching: bool
    extra_flags: tuple[str, ...]

    def flags(self) -> tuple[str, ...]:
        """Return the flags of the measured server, as a shell reads them.

        ``$LANGUAGE_ONLY`` stands for ``--language-model-only``, which a user may want off.
        """
        draft = json.dumps({"method": "mtp", "num_speculative_tokens": self.speculative_tokens})
        chosen = (
            (True, "--dtype bfloat16"),
            (True, f"--max-model-len {self.max_model_len}"),
            (True, f"--max-num-seqs {self.max_num_seqs}"),
            (True, f"--max-num-batched-tokens {self.max_num_batched_tokens}"),
            (True, f"--kv-cache-memory-bytes {self.kv_cache_bytes}"),
            (True, "--enable-prefix-caching" if self.prefix_caching else "--no-enable-prefix-caching"),
            (bool(self.quantization), f"--quantization {shlex.quote(self.quantization)}"),
            (self.enforce_eager, "--enforce-eager"),
            (self.language_model_only, "$LANGUAGE_ONLY"),
            (self.speculative_tokens > 0, f"--speculative-config {shlex.quote(draft)}"),
        )
        extra = (shlex.quote(flag) for flag in self.extra_flags)
        return (*(flag for wanted, flag in chosen if wanted), *extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the tree of a card was served, and how its tokens were drawn."""

    serve: Serve
    sampling: Sampling

    def command(self, repo: str, version: str, hub: str, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the lines of the shell command that serves ``repo`` as it was measured.

        Without a hub the model is the version's folder, seen from the folder of the releases.
        """
        exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())]
        if self.serve.language_model_only:
            exports.append("LANGUAGE_ONLY=--language-model-only")
            exports.append('if [ "${ENABLE_VISION:-0}" = 1 ]; then LANGUAGE_ONLY=; fi')
        flags = self.serve.flags()
        first = f"{repo} --revision v{version}" if hub else f"./{repo}/v{version}"
        middle = (f"  {flag} \\" for flag in flags[:-1])
        return (*exports, f"vllm serve {first} \\", *middle, f"  {flags[-1]}")


def read_profile(name: str, smoke: Evidence, wanted: Mapping[str, Json] | None = None) -> Profile:
    """Read the profile from the evidence of smoke ``name``. Raises ConfigError naming the key.

    ``wanted`` is the recipe's profile, for a draft of what nobody has served yet.
    """
    file = Path(name) / EVIDENCE_FILE
    facts: Json = json.loads(json.dumps(smoke.facts.get("profile", wanted or {})))
    profile = Table(file, facts if isinstance(facts, dict) else {}, "facts.profile")
    return Profile(
        serve=_serve(profile.take_table("serve")), sampling=_sampling(profile.take_table("sampling"))
    )


def _sampling(table: Table) -> Sampling:
    return Sampling(
        temperature=table.take("temperature", float),
        top_p=table.take("top_p", float),
        top_k=table.take("top_k", int),
        repetition_penalty=table.take("repetition_penalty", float),
        max_tokens=table.take("max_tokens", int),
    )


def _serve(table: Table) -> Serve:
    given = table.take_rest()
    known = Table(table.file, {key: value for key, value in given.items() if value is not None}, table.at)
    serve = Serve(
        max_model_len=known.take("max_model_len", int),
        max_num_seqs=known.take("max_num_seqs", int),
        max_num_batched_tokens=known.take("max_num_batched_tokens", int),
        kv_cache_bytes=known.take("kv_cache_bytes", int),
        quantization=known.take("quantization", str, ""),
        speculative_tokens=known.take("speculative_tokens", int),
        enforce_eager=known.take("enforce_eager", bool),
        language_model_only=known.take("language_model_only", bool),
        prefix_caching=known.take("prefix_caching", bool),
        extra_flags=known.take_strings("extra_flags") if "extra_flags" in known.keys() else (),  # noqa: SIM118
    )
    if any(flag.startswith("--trust-remote-code") for flag in serve.extra_flags):
        raise known.error("extra_flags", "no --trust-remote-code", "it, and the release holds no code")
    known.take("expect_kernel", str, "")  # what smoke looks for in the log is no flag
    known.done()  # a flag that was measured and is not on the card would be a lie
    return serve
