"""The recipe: what is wanted. ``recipes/<name>/recipe.toml``, parsed and checked.

A recipe names its sources, the parameters of each step, the gates and what the card
says. What the names resolve to stands in ``recipe.lock``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.params import Table as Params
from recipes.formats.precision import OPTIONS, Precision, parse_precision
from recipes.formats.sanity import parse_sanity, refuse_unfit
from recipes.formats.serving.budget import Floors, parse_floors
from recipes.formats.serving.profile import parse_serve
from release import signer as signers
from release.digest import Json
from release.errors import ConfigError, GraftsmithError, UsageError
from release.reponame import RepoName
from release.source import EXPECTED, HubSource, PathSource, parse_source
from release.tables import Table, expect_format, read

FORMAT = 1
RECIPE_FILE = "recipe.toml"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
PROFILES = Path(__file__).resolve().parent.parent / "recipes" / "profiles"
CHECKPOINTS = ("base", "master")
SOURCES = (*CHECKPOINTS, "calibration", "prompts", "chat_template", "templates")
CHECKS = "checks"
"""A source that a recipe may leave out: then the card's words on the API are not measured."""
TEXTS, FIDELITY = "texts", "fidelity"
"""Another, and the table beside it: texts over which the release is held against its master."""
SANITY = "sanity"
"""A table and a source, both or neither: without them no answers are compared."""


UNNAMED = "your-namespace"
"""The owner in the plan of a recipe that names none: nothing can be pushed there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repos:
    """The two repos of a release, as ``owner/name``."""

    master: str
    nvfp4: str

    @property
    def named(self) -> bool:
        """Whether the recipe says whose repos they are."""
        return not self.master.startswith(f"{UNNAMED}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """How a served tree is driven, and what memory it must leave.

    ``drives`` is checked by the step that drives.
    """

    max_tokens: int
    seed: int
    startup_timeout_s: int
    request_timeout_s: int
    drives: Mapping[str, Json]
    floors: Floors


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One release line. ``soak_gates`` are those of a soak's figures, judged when one is asked for."""

    name: str
    folder: Path
    variant: str
    repos: Repos
    sources: Mapping[str, str]
    precision: Precision
    exporter: str
    max_shard_size: str
    calibrate: Mapping[str, Json]
    fidelity: Mapping[str, Json] | None
    sampling: Mapping[str, Json]
    serve_nvfp4: Mapping[str, Json]
    serve_master: Mapping[str, Json]
    smoke: Smoke
    sanity: Mapping[str, Json]
    gates: tuple[Mapping[str, Json], ...]
    soak_gates: tuple[Mapping[str, Json], ...]
    card: Mapping[str, Json]
    signing: signers.Signer | None = None

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


def load(folder: Path, namespace: str = "") -> Recipe:
    """Read and check the recipe in ``folder``. Raises ConfigError: file, key, expected, got.

    ``namespace`` is the owner of both repos where it is not the recipe's own.
    """
    table = read(folder / RECIPE_FILE)
    expect_format(table, FORMAT)
    quantize = table.take_table("quantize")
    serve_nvfp4, serve_master = _serve(folder / RECIPE_FILE, table.take_table("serve"))
    gates = table.take_rows("gates", lambda row: row.take_rest())
    recipe = Recipe(
        name=_name(table),
        folder=folder,
        variant=table.take("variant", str),
        repos=_repos(table.take_table("repos"), namespace),
        sources=_sources(table.take_table("sources")),
        precision=_precision(quantize),
        exporter=_one_of(quantize, "exporter", ("stream", "modelopt")),
        max_shard_size=quantize.take("max_shard_size", str),
        calibrate=_calibrate(table.take_table("calibrate")),
        fidelity=_fidelity(table),
        sampling=_sampling(table.take_table("sampling")),
        serve_nvfp4=serve_nvfp4,
        serve_master=serve_master,
        smoke=_smoke(table.take_table("smoke")),
        sanity=_sanity(table.take_table(SANITY, optional=True), serve_nvfp4, serve_master),
        gates=tuple(row for row in gates if not _of_soak(row)),
        soak_gates=tuple(row for row in gates if _of_soak(row)),
        card=table.take_table("card").take_rest(),
        signing=signers.parse(table.take_table("signing", optional=True), folder),
    )
    quantize.done()
    table.done()
    _check_base(recipe, table)
    if (recipe.fidelity is None) is (TEXTS in recipe.sources):
        raise table.error(FIDELITY, f"a table beside sources.{TEXTS}, or neither", "one of them")
    if bool(recipe.sanity) != (SANITY in recipe.sources):
        raise table.error(SANITY, "the table and the source of this name, or neither", "one of them")
    return recipe


def _name(table: Table) -> str:
    """Return the line's name: the store keeps folders under it."""
    name = table.take("name", str)
    if not NAME.fullmatch(name):
        raise table.error("name", "letters, digits, '.', '_' or '-', no '.' or '-' first", repr(name))
    return name


def _check_base(recipe: Recipe, table: Table) -> None:
    """Refuse a card that names another base, or another commit of it, than the one that is fetched."""
    source = hub_sources(recipe).get("base")
    if source is None:
        return
    if recipe.base != str(source.repo):
        raise table.error("card.base.repo", f"{source.repo}, as in sources.base", repr(recipe.base))
    base = recipe.card["base"]
    said = base.get("revision", source.revision) if isinstance(base, dict) else source.revision
    if source.pinned and said != source.revision:
        raise table.error("card.base.revision", f"{source.revision}, as in sources.base", repr(said))


def require_named(recipe: Recipe) -> None:
    """Refuse to release into nobody's repos. Raises ConfigError."""
    if not recipe.repos.named:
        raise ConfigError(
            f"{recipe.folder / RECIPE_FILE}: repos.namespace: expected the owner of both repos, got nothing",
            why="There is no default to push to: it must be a namespace that your token can write.",
            hint='add --namespace NAME, or write it into the recipe: namespace = "NAME"',
        )


def _of_soak(gate: Mapping[str, Json]) -> bool:
    return str(gate.get("figure")).startswith("soak.")


def require_soak_gates(recipe: Recipe) -> None:
    """Refuse a soak of which no figure would be held against anything. Raises ConfigError."""
    if not recipe.soak_gates:
        raise ConfigError(
            f"{recipe.folder / RECIPE_FILE}: gates: expected a figure soak.<name> for --soak, got none",
            why="A soak that nothing is held against shows nothing.",
            hint="see docs/measuring.md for its figures, or leave --soak out",
        )


def _repos(table: Table, namespace: str) -> Repos:
    own = table.take("namespace", str, UNNAMED)
    owner = namespace or own
    names = [str(RepoName.parse(f"{owner}/{table.take(kind, str)}")) for kind in ("master", "nvfp4")]
    table.done()
    return Repos(master=names[0], nvfp4=names[1])


def _sources(table: Table) -> Mapping[str, str]:
    given = table.keys()
    names = (*SOURCES, *(name for name in (CHECKS, TEXTS, SANITY) if name in given))
    sources = {name: table.take(name, str) for name in names}
    table.done()
    for name, source in sources.items():
        try:
            parse_source(source)
        except (ValueError, GraftsmithError) as error:
            raise table.error(name, EXPECTED, repr(source)) from error
    return sources


def _serve(file: Path, table: Table) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """Return the profiles of both trees: what both share, then a named one, then the tree's own."""
    own = [table.take_table(kind, optional=True) for kind in ("nvfp4", "master")]
    common = table.take_rest()
    found = []
    for kind in own:
        named = kind.take("profile", str, "")
        values = {**common, **(_profile(kind, named) if named else {}), **kind.take_rest()}
        try:
            parse_serve(Params(f"{file}: {kind.at}", values))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        found.append(values)
    return found[0], found[1]


def _profile(table: Table, name: str) -> Mapping[str, Json]:
    file = PROFILES / f"{name}.toml"
    if not file.is_file():
        known = " or ".join(sorted(path.stem for path in PROFILES.glob("*.toml")))
        raise table.error("profile", known, repr(name))
    return read(file).take_rest()


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


def _fidelity(whole: Table) -> Mapping[str, Json] | None:
    if FIDELITY not in whole.keys():  # noqa: SIM118 - a Table is no dict
        return None
    table = whole.take_table(FIDELITY)
    params: dict[str, Json] = {
        "max_seq_len": table.take("max_seq_len", int),
        "rows_license": table.take("rows_license", str),
        "slow_linear_attention": table.take("slow_linear_attention", bool, False),
    }
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
    _refuse_greedy(table, params)
    return params


def _refuse_greedy(table: Table, params: Mapping[str, Json]) -> None:
    """Refuse a default that always takes the likeliest token, or that no engine takes.

    Whoever loads the release without a word of sampling gets these values.
    """
    temperature, top_p, penalty = (
        float(str(params[key])) for key in ("temperature", "top_p", "repetition_penalty")
    )
    top_k = int(str(params["top_k"]))
    wanted = (
        ("temperature", 0 < temperature <= 2, "above 0 and at most 2: greedy decoding loops"),
        ("top_p", 0 < top_p <= 1, "above 0 and at most 1"),
        ("top_k", top_k == -1 or top_k > 1, "-1 (all) or 2 and more: one candidate is greedy"),
        ("repetition_penalty", 0.5 <= penalty <= 2, "between 0.5 and 2"),
    )
    for key, holds, words in wanted:
        if not holds:
            raise table.error(key, words, str(params[key]))


def _smoke(table: Table) -> Smoke:
    smoke = Smoke(
        max_tokens=table.take("max_tokens", int),
        seed=table.take("seed", int),
        startup_timeout_s=table.take("startup_timeout_s", int),
        request_timeout_s=table.take("request_timeout_s", int),
        drives=table.take_table("drives").take_rest(),
        floors=_floors(table.take_table("memory", optional=True)),
    )
    table.done()
    return smoke


def _sanity(table: Table, *serves: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return what is asked, empty where the recipe asks nothing; it must fit into both profiles."""
    values = table.take_rest()
    try:
        for serve in serves if values else ():
            profile = parse_serve(Params(f"{table.file}: serve", serve))
            refuse_unfit(parse_sanity(Params(f"{table.file}: {table.at}", values)), profile)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return values


def _floors(table: Table) -> Floors:
    try:
        return parse_floors(Params(f"{table.file}: {table.at}", table.take_rest()))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _one_of(table: Table, key: str, allowed: tuple[str, ...]) -> str:
    value = table.take(key, str)
    if value not in allowed:
        raise table.error(key, " or ".join(map(repr, allowed)), repr(value))
    return value


def hub_sources(recipe: Recipe) -> Mapping[str, HubSource]:
    """Return the sources that a Hub holds, by name."""
    parsed = {name: parse_source(source) for name, source in recipe.sources.items()}
    return {name: source for name, source in parsed.items() if isinstance(source, HubSource)}


def path_sources(recipe: Recipe) -> Mapping[str, Path]:
    """Return the path of each source on this machine. Raises ConfigError for one that is not there."""
    return {
        name: source_path(recipe, source)
        for name, source in recipe.sources.items()
        if isinstance(parse_source(source), PathSource)
    }


def source_path(recipe: Recipe, source: str) -> Path:
    """Return the path that a ``path:`` source names, relative to the recipe's folder."""
    path = recipe.folder / source.removeprefix("path:")
    if not path.exists():
        raise ConfigError(f"{recipe.folder / RECIPE_FILE}: sources: {path} does not exist")
    return path.resolve()
