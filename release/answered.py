"""What both served models answered, side by side, as card and report show it.

A task is a row: both shares, their difference with its interval, McNemar's test, and the
smallest difference that so many questions could show. A part that was not asked says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.evidence import EVIDENCE_FILE, parse
from release.errors import ConfigError
from release.hoststep import Inputs
from release.paired import Paired, compare_all, read_answers

OURS, THEIRS = "sanity-nvfp4", "sanity-master"
NOT_ASKED = "the recipe asks nothing of the served models"
MEASURED = "measured"
WORDS = {
    "tasks": "short answers",
    "termination": "whether thinking ends by itself",
    "budget": "the thinking budget",
    "tools": "tool calls over several turns",
    "needle": "a fact in a long text",
    "vision": "pictures and a video",
}
"""What each part of the table ``[sanity]`` is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task, in words and numbers that are shown as they stand."""

    task: str
    n: str
    nvfp4: str
    master: str
    difference: str
    interval: str
    differ: str
    p: str
    resolution: str
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Every task that was asked, and the parts that were not, together where the reason is one."""

    rows: tuple[Row, ...]
    unasked: tuple[tuple[str, str], ...]


def answered(inputs: Inputs) -> Answered:
    """Read and compare both trees' answers. Raises ConfigError for answers that do not pair."""
    if not {OURS, THEIRS} <= inputs.keys():
        return Answered(rows=(), unasked=_unasked(dict.fromkeys(WORDS, NOT_ASKED)))
    try:
        evidence = parse((inputs[OURS].folder / EVIDENCE_FILE).read_text())
        pairs = compare_all(*(read_answers(inputs[name].folder) for name in (OURS, THEIRS)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{OURS}, {THEIRS}: {error}") from error
    hows = {figure.name: figure.how for figure in evidence.measurements}
    parts = evidence.facts.get("parts")
    told = parts if isinstance(parts, dict) else {}
    return Answered(
        rows=tuple(_row(task, pair, hows.get(task, "")) for task, pair in pairs.items()),
        unasked=_unasked({str(part): str(why) for part, why in told.items()}),
    )


def _unasked(told: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    by_reason: dict[str, list[str]] = {}
    for part, words in WORDS.items():
        if told.get(part, MEASURED) != MEASURED:
            by_reason.setdefault(told[part], []).append(words)
    return tuple((", ".join(parts), why) for why, parts in by_reason.items())


def _row(task: str, pair: Paired, how: str) -> Row:
    low, high = pair.bounds
    resolution = pair.resolution
    return Row(
        task=task.replace("_", " "),
        n=str(pair.n),
        nvfp4=_percent(pair.ours / pair.n),
        master=_percent(pair.theirs / pair.n),
        difference=_points(pair.difference),
        interval=f"{_points(low)} to {_points(high)}",
        differ=f"{pair.lost} lost, {pair.gained} gained",
        p=f"{pair.p:.2g}",
        resolution=f"{100 * resolution:.1f}" if resolution <= 1 else "none",
        how=how,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
