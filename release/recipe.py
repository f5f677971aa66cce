"""The recipe: what is wanted. ``recipes/<name>/recipe.toml``, parsed and checked.

A recipe names its sources, the parameters of each step, the gates and what the card
says. What the names resolve to stands in ``recipe.lock``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.precision import OPTIONS, Precision, parse_precision
from release.digest import Json
from release.errors import ConfigError, UsageError
from release.tables import Table, expect_format, read

FORMAT = 1
RECIPE_FILE = "recipe.toml"
CHECKPOINTS = ("base", "master")
SOURCES = (*CHECKPOINTS, "calibration", "prompts", "chat_template", "templates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repos:
    """The two repos of a release, as ``owner/name``."""

    master: str
    nvfp4: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """How a served tree is driven. ``drives`` is checked by the step that drives."""

    max_tokens: int
    seed: int
    startup_timeout_s: int
    request_timeout_s: int
    drives: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One release line."""

    name: str
    folder: Path
    variant: str
    repos: Repos
    sources: Mapping[str, str]
    precision: Precision
    exporter: str
    max_shard_size: str
    calibrate: Mapping[str, Json]
    sampling: Mapping[str, Json]
    serve_nvfp4: Mapping[str, Json]
    serve_master: Mapping[str, Json]
    smoke: Smoke
    gates: tuple[Mapping[str, Json], ...]
    card: Mapping[str, Json]

    @property
    def base(self) -> str:
        """The repo that the lineage starts from, as the card names it."""
        match self.card.get("base"):
            case {"repo": str(repo)}:
                return repo
        raise ConfigError(f"{self.folder / RECIPE_FILE}: card.base.repo: expected str, got nothing")


def find(project: Path, name: str) -> Path:
    """Return the folder of a recipe, by its name or by the path of a folder.

    Raises UsageError that lists the recipes there are.
    """
    for folder in (project / "recipes" / name, Path(name)):
        if (folder / RECIPE_FILE).is_file():
            return folder.resolve()
    known = sorted(path.parent.name for path in (project / "recipes").glob(f"*/{RECIPE_FILE}"))
    raise UsageError(
        f"there is no recipe {name!r}",
        hint=f"use one of: {', '.join(known)}; or the path of a folder that holds a {RECIPE_FILE}",
    )


def load(folder: Path) -> Recipe:
    """Read and check the recipe in ``folder``. Raises ConfigError: file, key, expected, got."""
    table = read(folder / RECIPE_FILE)
    expect_format(table, FORMAT)
    quantize = table.take_table("quantize")
    serve = table.take_table("serve")
    of_nvfp4, of_master = (serve.take_table(kind).take_rest() for kind in ("nvfp4", "master"))
    common = serve.take_rest()
    recipe = Recipe(
        name=table.take("name", str),
        folder=folder,
        variant=table.take("variant", str),
        repos=_repos(table.take_table("repos")),
        sources=_sources(table.take_table("sources")),
        precision=_precision(quantize),
        exporter=_one_of(quantize, "exporter", ("stream", "modelopt")),
        max_shard_size=quantize.take("max_shard_size", str),
        calibrate=_calibrate(table.take_table("calibrate")),
        sampling=_sampling(table.take_table("sampling")),
        serve_nvfp4={**common, **of_nvfp4},
        serve_master={**common, **of_master},
        smoke=_smoke(table.take_table("smoke")),
        gates=table.take_rows("gates", lambda row: row.take_rest()),
        card=table.take_table("card").take_rest(),
    )
    quantize.done()
    table.done()
    return recipe


def _repos(table: Table) -> Repos:
    namespace = table.take("namespace", str)
    repos = Repos(
        master=f"{namespace}/{table.take('master', str)}", nvfp4=f"{namespace}/{table.take('nvfp4', str)}"
    )
    table.done()
    return repos


def _sources(table: Table) -> Mapping[str, str]:
    sources = {name: table.take(name, str) for name in SOURCES}
    table.done()
    for name, source in sources.items():
        if not source.startswith("path:") or len(source) == len("path:"):
            raise table.error(name, "path:FOLDER or path:FILE", repr(source))
    return sources


def _precision(table: Table) -> Precision:
    options = {key: table.take(key, str) for key in OPTIONS}
    try:
        return parse_precision(options, f"{table.file}: quantize")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _calibrate(table: Table) -> Mapping[str, Json]:
    params: dict[str, Json] = {key: table.take(key, int) for key in ("samples", "max_seq_len")}
    params["rows_license"] = table.take("rows_license", str)
    params["slow_linear_attention"] = table.take("slow_linear_attention", bool, False)
    table.done()
    return params


def _sampling(table: Table) -> Mapping[str, Json]:
    params: dict[str, Json] = {
        "temperature": table.take("temperature", float),
        "top_p": table.take("top_p", float),
        "top_k": table.take("top_k", int),
        "repetition_penalty": table.take("repetition_penalty", float),
    }
    table.done()
    return params


def _smoke(table: Table) -> Smoke:
    smoke = Smoke(
        max_tokens=table.take("max_tokens", int),
        seed=table.take("seed", int),
        startup_timeout_s=table.take("startup_timeout_s", int),
        request_timeout_s=table.take("request_timeout_s", int),
        drives=table.take_table("drives").take_rest(),
    )
    table.done()
    return smoke


def _one_of(table: Table, key: str, allowed: tuple[str, ...]) -> str:
    value = table.take(key, str)
    if value not in allowed:
        raise table.error(key, " or ".join(map(repr, allowed)), repr(value))
    return value


def source_path(recipe: Recipe, source: str) -> Path:
    """Return the path that a ``path:`` source names, relative to the recipe's folder."""
    path = recipe.folder / source.removeprefix("path:")
    if not path.exists():
        raise ConfigError(f"{recipe.folder / RECIPE_FILE}: sources: {path} does not exist")
    return path.resolve()
