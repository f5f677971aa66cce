"""The host step ``report``: evidence of a release in, one self-contained HTML page and its plots out.

Nothing is loaded from elsewhere: style, plots and prove's picture of the ledger are in the page. The
plots that the card shows are files beside it. Every number comes from evidence; what was not measured
says so.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from recipes.formats.evidence import EVIDENCE_FILE, Evidence, Measurement
from recipes.formats.evidence import parse as parse_evidence
from recipes.formats.proofs.picture import PICTURE_FILE
from release import verdicts
from release.answered import Answered, answered
from release.digest import Json
from release.errors import ConfigError
from release.hoststep import HostStep, Inputs, Params, Result
from release.report import plots
from release.report.fidelity import Fidelity, read_fidelity
from release.report.terminal import size
from release.tables import Table
from release.verdicts import VERDICTS_FILE, Verdicts

PAGE_FILE = "report.html"
POSITIONS_FILE = "acceptance-positions.svg"
DOMAINS_FILE = "acceptance-domains.svg"
SPEED_FILE = "throughput.svg"
TEMPLATE = "report.html.jinja"
LEDGER_FILE = "ledger.json"
MEMORY_FILE = "memory.jsonl"
FIDELITY = "fidelity"
TREES = (("nvfp4", "NVFP4"), ("master", "BF16"))
GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """How memory went while one tree was served."""

    name: str
    plot: str
    peak: str
    lowest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """One tree's ledger: a row for each class of module."""

    name: str
    total: str
    rows: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page says, decided before it is rendered."""

    title: str
    version: str
    judged: Verdicts
    length: tuple[tuple[str, str], ...]
    positions: str
    domains: str
    speed: str
    latency: str
    fidelity: Fidelity | None
    figures: tuple[tuple[str, str, str, str, str], ...]
    memory: tuple[Memory, ...]
    picture: str
    ledgers: tuple[Bytes, ...]
    checks: tuple[tuple[str, str, str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    served: tuple[tuple[str, str], ...]
    answered: Answered


def report(inputs: Inputs, params: Params) -> Result:
    """Render the page (host step). Raises ConfigError for evidence that is none."""
    page = _page(inputs, params)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(inputs["templates"].folder),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        text = environment.get_template(TEMPLATE).render(page=page, style=plots.STYLE)
    except jinja2.TemplateError as error:
        raise ConfigError(f"templates/{TEMPLATE}: {error}") from error
    drawn = {POSITIONS_FILE: page.positions, DOMAINS_FILE: page.domains, SPEED_FILE: page.speed}
    files = {name: plots.alone(plot).encode() for name, plot in drawn.items()}
    return Result(new={PAGE_FILE: text.encode(), **files})


REPORT = HostStep(report, revision=3)


def _page(inputs: Inputs, params: Params) -> Page:
    table = Table(Path("params"), params)
    smokes = {kind: _evidence(inputs, f"smoke-{kind}") for kind, _ in TREES}
    return Page(
        title=table.take("title", str),
        version=table.take("version", str),
        judged=verdicts.parse((inputs["gate"].folder / VERDICTS_FILE).read_text()),
        length=tuple((name, _value(smokes[kind].figure("acceptance_length"))) for kind, name in TREES),
        positions=_acceptance(smokes, "acceptance_pos_", "kept, share of drafts"),
        domains=_acceptance(smokes, "acceptance_length.", "tokens a draft"),
        speed=_against_load(smokes, "output_tokens_per_second_c", "tokens/s"),
        latency=_against_load(smokes, "itl_ms_median_c", "ms"),
        fidelity=read_fidelity(_evidence(inputs, FIDELITY) if FIDELITY in inputs else None),
        figures=tuple(_figures(smokes)),
        memory=tuple(_memory(inputs[f"smoke-{kind}"].folder, name) for kind, name in TREES),
        picture=_picture(inputs["prove"].folder / PICTURE_FILE),
        ledgers=tuple(_ledgers(inputs["prove"].folder)),
        checks=tuple(_checks(smokes)),
        provenance=tuple(_flat(table.take("provenance", dict))),
        served=tuple((name, " ".join(_flags(smokes[kind]))) for kind, name in TREES),
        answered=answered(inputs),
    )


def _evidence(inputs: Inputs, name: str) -> Evidence:
    try:
        return parse_evidence((inputs[name].folder / EVIDENCE_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}/{EVIDENCE_FILE}: {error}") from error


def _acceptance(smokes: Mapping[str, Evidence], prefix: str, unit: str) -> str:
    """Return bars of every measurement whose name starts with ``prefix``, both trees beside each other."""
    names = dict.fromkeys(
        figure.name
        for evidence in smokes.values()
        for figure in evidence.measurements
        if figure.name.startswith(prefix)
    )
    if not names:
        return ""
    series = {
        name: [figure.value if (figure := smokes[kind].figure(at)) else None for at in names]
        for kind, name in TREES
    }
    labels = [name.removeprefix(prefix).replace("_", " ") for name in names]
    return plots.bars([f"position {at}" if at.isdigit() else at for at in labels], series, unit)


def _against_load(smokes: Mapping[str, Evidence], prefix: str, unit: str) -> str:
    series = {
        name: sorted(
            (float(figure.name.removeprefix(prefix)), figure.value)
            for figure in smokes[kind].measurements
            if figure.name.startswith(prefix)
        )
        for kind, name in TREES
    }
    return plots.lines(series, "requests in flight", unit)


def _figures(smokes: Mapping[str, Evidence]) -> Iterator[tuple[str, str, str, str, str]]:
    names = dict.fromkeys(figure.name for evidence in smokes.values() for figure in evidence.measurements)
    for name in names:
        found = [smokes[kind].figure(name) for kind, _ in TREES]
        first = next(figure for figure in found if figure)
        yield (name.replace("_", " "), _value(found[0]), _value(found[1]), first.unit, first.how)


def _value(figure: Measurement | None) -> str:
    return f"{figure.value:.4g} (n={figure.n})" if figure else "not measured"


def _memory(folder: Path, name: str) -> Memory:
    rows = [json.loads(line) for line in (folder / MEMORY_FILE).read_text().splitlines()]
    series = {
        "available": [(row["at"], row["available"] / GB) for row in rows],
        "server": [(row["at"], row["rss"] / GB) for row in rows],
    }
    if any(row["gpu"] for row in rows):
        series["GPU"] = [(row["at"], (row["gpu"] or 0) / GB) for row in rows]
    return Memory(
        name=name,
        plot=plots.lines({key: plots.thin(points) for key, points in series.items()}, "seconds", "GB"),
        peak=size(max((row["rss"] for row in rows), default=0)),
        lowest=size(min((row["available"] for row in rows), default=0)),
    )


def _picture(file: Path) -> str:
    """Return prove's picture as an address that holds it whole: its style stays its own."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"prove/{file.name}: {error}") from error
    return f"data:image/svg+xml;base64,{base64.b64encode(data).decode()}"


def _ledgers(folder: Path) -> Iterator[Bytes]:
    trees = Table(Path(LEDGER_FILE), json.loads((folder / LEDGER_FILE).read_text())).take_tables("trees")
    for kind, name in TREES:
        classes = {key: table.take_rest() for key, table in trees[kind].take_tables("classes").items()}
        sizes = {key: _count(row["bytes"]) for key, row in classes.items()}
        ordered = dict(sorted(sizes.items(), key=lambda item: -item[1]))
        yield Bytes(
            name=name,
            total=size(sum(sizes.values())),
            rows=tuple(
                (key, str(classes[key]["tensors"]), size(count), _dtypes(classes[key]["dtypes"]))
                for key, count in ordered.items()
            ),
        )


def _checks(smokes: Mapping[str, Evidence]) -> Iterator[tuple[str, str, str, str]]:
    for kind, tree in TREES:
        made = smokes[kind].facts.get("checks", [])
        for row in made if isinstance(made, list) else []:
            yield (str(row["name"]), tree, str(row["outcome"]), str(row["found"]))


def _flags(evidence: Evidence) -> Sequence[str]:
    flags = evidence.facts.get("flags")
    return [str(flag) for flag in flags] if isinstance(flags, list) else []


def _flat(data: Mapping[str, Json], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        name = f"{above} {key}".strip()
        if isinstance(value, dict):
            yield from _flat(value, name)
        else:
            yield name, str(value)


def _count(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _dtypes(value: Json) -> str:
    return ", ".join(value) if isinstance(value, dict) else ""
