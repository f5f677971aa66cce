"""The profile that a smoke measured, read back from its evidence: serving and sampling.

The card's command is made of what was measured, so it cannot drift from the figures.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from recipes.formats.params import Table as Params
from recipes.formats.serving.profile import Serve, parse_serve
from recipes.formats.serving.vllm import NEWEST, compile_vllm
from release.digest import Json
from release.errors import ConfigError
from release.tables import Table

LANGUAGE_ONLY = "--language-model-only"
"""The flag that a user may want off: ENABLE_VISION=1 leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The sampling that acceptance was measured with, and that is recommended."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the tree of a card was served, by which version of vLLM, and how its tokens were drawn."""

    serve: Serve
    version: str
    sampling: Sampling

    def command(self, repo: str, version: str, hub: str, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the lines of the shell command that serves ``repo`` as it was measured.

        Without a hub the model is the version's folder, seen from the folder of the releases.
        """
        command = compile_vllm(self.serve, self.version)
        exported = {**command.variables, **env}
        exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(exported.items())]
        if self.serve.language_model_only:
            exports.append(f"LANGUAGE_ONLY={LANGUAGE_ONLY}")
            exports.append('if [ "${ENABLE_VISION:-0}" = 1 ]; then LANGUAGE_ONLY=; fi')
        flags = [_shell(flag) for flag in command.flags]
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
    served = profile.take_table("serve").take_rest()
    version = str(smoke.facts.get("engine_version", NEWEST))
    try:
        serve = parse_serve(Params(f"{file}: facts.profile.serve", served))
        compile_vllm(serve, version)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    sampling = _sampling(profile.take_table("sampling"))
    return Profile(serve=serve, version=version, sampling=sampling)


def _shell(flag: str) -> str:
    """Return ``--name=value`` as people write it: with a space, and quoted."""
    if flag == LANGUAGE_ONLY:
        return "$LANGUAGE_ONLY"
    name, _, value = flag.partition("=")
    return f"{name} {shlex.quote(value)}" if value else name


def _sampling(table: Table) -> Sampling:
    return Sampling(
        temperature=table.take("temperature", float),
        top_p=table.take("top_p", float),
        top_k=table.take("top_k", int),
        repetition_penalty=table.take("repetition_penalty", float),
        max_tokens=table.take("max_tokens", int),
    )
