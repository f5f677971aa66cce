"""What users of a release serve it with: a script, its watchdog, a compose file, a systemd unit.

    kit(templates, context)["serve/serve.sh"]

Rendered from the profile that was measured, by the same compiler as the card's command, and with
the floors of the recipe: there is no second list of flags. Nothing in here is Python, and nothing
is run by loading the model.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from recipes.formats.serving.vllm import compile_vllm
from release.card.context import Context
from release.card.profile import LANGUAGE_ONLY
from release.errors import ConfigError
from release.reponame import RepoName

FOLDER = "serve"
FILES = ("serve.sh", "watchdog.sh", "compose.yml", "vllm.service")
MIB = 1 << 20
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"[\w.+-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What the templates may say. ``vision`` is the default of ENABLE_VISION; floors are in MiB."""

    name: str
    release: str
    engine: str
    flags: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    vision: int
    gpu: bool
    floor_mib: int
    startup_floor_mib: int
    swap_growth_mib: int
    pressure: int


def kit(templates: Path, context: Context) -> Mapping[str, bytes]:
    """Render every file. Raises ConfigError naming a template and what it lacks."""
    values, environment = _kit(context), _environment(templates / FOLDER)
    found = {}
    for name in FILES:
        try:
            text = environment.get_template(f"{name}.jinja").render(kit=values)
        except jinja2.TemplateError as error:
            raise ConfigError(f"templates/{FOLDER}/{name}.jinja: {error}") from error
        found[f"{FOLDER}/{name}"] = text.encode()
    return found


def _kit(context: Context) -> Kit:
    profile, floors = context.profile, context.floors
    command = compile_vllm(profile.serve, profile.version)
    variables = {**command.variables, **context.facts.serve_env}
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"recipe.toml: card.serve_env: expected a variable's name, got {name!r}")
    if not _VERSION.fullmatch(profile.version):
        raise ConfigError(f"facts.engine_version: expected a version such as 0.32.0, got {profile.version!r}")
    return Kit(
        name=RepoName.parse(context.target.repo).name,
        release=context.target.version,
        engine=profile.version,
        flags=tuple(flag for flag in command.flags if flag != LANGUAGE_ONLY),
        variables=tuple(sorted(variables.items())),
        vision=0 if profile.serve.language_model_only else 1,
        gpu=context.gpu,
        floor_mib=-(-floors.floor // MIB),
        startup_floor_mib=-(-floors.startup_floor // MIB),
        swap_growth_mib=floors.swap_growth // MIB,
        pressure=int(floors.pressure),
    )


def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - shell and YAML: words are quoted by the filters below
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["sh"] = shlex.quote
    return environment
