"""How far a release is from its master: what gates, card and report read of the step ``fidelity``. Pure.

    rows = read_rows(folder)
    interval_of("kl_mean", rows)          # Interval(low=0.021, high=0.027, prompts=36)
    too_good(evidence)                    # "the divergence is exactly 0: ...", or None

Positions of one text depend on each other, so an interval is drawn over texts.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import Evidence
from release.bootstrap import Interval, mean_interval

FIDELITY = "fidelity"
"""The step's name, and its evidence's."""

ROWS_FILE = "rows.jsonl"
VISION = "vision_"
BETTER = 0.95
"""A release whose perplexity is below this share of its master's was not measured right: packing
loses information, and leading teams take a gain above 5 % for a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The sums of one text over its positions, in nats where they are not counts."""

    id: str
    domain: str
    positions: int
    kl: float
    agree: int
    master_nll: float
    nvfp4_nll: float


INTERVALS: Mapping[str, Callable[[Row], float]] = {
    "kl_mean": lambda row: row.kl,
    "top1_agreement": lambda row: float(row.agree),
    "perplexity_ratio": lambda row: row.nvfp4_nll - row.master_nll,
}
"""The figures that are a mean over positions, or the exponential of one: what each text adds to it."""


def read_rows(folder: Path) -> tuple[Row, ...]:
    """Read the sums of each text. Raises ValueError with file and line, and OSError."""
    found = []
    for number, line in enumerate((folder / ROWS_FILE).read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Row(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{ROWS_FILE}:{number}: expected the sums of a text: {error}") from error
    return tuple(found)


def has_interval(figure: str) -> bool:
    """Tell whether an interval can be drawn for a figure, ``<name>`` or ``<name>.<domain>``."""
    return figure.partition(".")[0] in INTERVALS


def interval_of(figure: str, rows: Sequence[Row]) -> Interval:
    """Return the interval of a figure. Raises ValueError when fewer than two texts are behind it."""
    name, _, domain = figure.partition(".")
    adds = INTERVALS[name]
    pairs = [(adds(row), row.positions) for row in rows if domain in ("", row.domain)]
    found = mean_interval(pairs)
    if name != "perplexity_ratio":
        return found
    return Interval(low=math.exp(found.low), high=math.exp(found.high), prompts=found.prompts)


def too_good(evidence: Evidence) -> str | None:
    """Return what cannot be of a packed model, None where nothing is odd."""
    value = {figure.name: figure.value for figure in evidence.measurements}
    if value.get("kl_mean") == 0:
        return "the divergence is exactly 0: one model was held against itself"
    if value.get("kl_mean", 0.0) < 0:
        return "a mean divergence below 0 cannot be"
    ours, theirs = value.get("perplexity_master"), value.get("perplexity_nvfp4")
    if ours and theirs is not None and theirs < BETTER * ours:
        return f"the release's perplexity is {theirs / ours:.3f} of its master's: better by more than 5 %"
    return None
