"""Figures as the card shows them: each with its unit, n and how, or "not measured"."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recipes.formats.evidence import Evidence, Measurement
from release.card.markdown import escape
from release.card.unmeasured import NOT_MEASURED
from release.errors import GateError

ACCEPTANCE = "acceptance_length"
TIMES = ("s", "ms")
_COUNT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(?![\w.])")
"""A number that stands alone: ``qwen3`` and ``0.32.0`` are names."""

_LOAD = re.compile(r"_c\d+$")
_SAID = {" pos ": ", position ", " itl ": " time between tokens, ", " ttft ": " time to first token, "}
NVFP4 = "smoke-nvfp4"
MASTER = "smoke-master"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement in words. ``n`` is 0 when nothing was measured."""

    text: str
    unit: str
    n: int
    how: str

    @property
    def measured(self) -> bool:
        """Whether there is a figure."""
        return self.n > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the performance table: the same measurement of both trees."""

    name: str
    unit: str
    nvfp4: Figure
    master: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The way in which the measurements ``names`` were taken. Counts that differ are a range."""

    names: tuple[str, ...]
    text: str

    @property
    def what(self) -> tuple[str, ...]:
        """The names, those that differ after a comma as one: ``acceptance length, each``."""
        stems: dict[str, list[str]] = {}
        for name in self.names:
            stems.setdefault(name.partition(",")[0], []).append(name)
        return tuple(found[0] if len(found) == 1 else f"{stem}, each" for stem, found in stems.items())


def hows(rows: Sequence[Row]) -> tuple[How, ...]:
    """Return each way of measuring once, with the rows of either tree that were measured so."""
    names: dict[tuple[str, ...], dict[str, None]] = {}
    texts: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        for figure in (row.nvfp4, row.master):
            if figure.measured:
                skeleton = tuple(_COUNT.split(figure.how)[::2])
                names.setdefault(skeleton, {})[row.name] = None
                texts.setdefault(skeleton, []).append(figure.how)
    return tuple(How(names=tuple(names[key]), text=_ranged(found)) for key, found in texts.items())


def _ranged(texts: Sequence[str]) -> str:
    """Return texts that differ in counts alone as one: ``over 81 to 195 drafts``."""
    parts = zip(*(_COUNT.split(text) for text in texts), strict=True)
    return "".join(_range(found) if at % 2 else found[0] for at, found in enumerate(parts))


def _range(counts: Sequence[str]) -> str:
    ordered = sorted(set(counts), key=float)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def words(name: str, unit: str) -> str:
    """Return a measurement's name as people say it: ``itl_ms_median_c16`` without what its unit says.

    What is not known here is said as it is written, with spaces.
    """
    name, _, load = name.partition("_c") if _LOAD.search(name) else (name, "", "")
    plain = f" {name.replace('_', ' ').replace('.', ', ')} "
    plain = plain.replace(f" {unit} ", " ") if unit in TIMES else plain
    for short, said in _SAID.items():
        plain = plain.replace(short, said)
    return plain.strip() + (f", {load} in flight" if load else "")


def number(value: float) -> str:
    """Return four significant digits, whole numbers from 1,000 on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def rows(nvfp4: Evidence, master: Evidence) -> tuple[Row, ...]:
    """Return a row for every measurement of either tree, by name."""
    names = sorted({measurement.name for measurement in (*nvfp4.measurements, *master.measurements)})
    return tuple(_row(name, nvfp4.figure(name), master.figure(name)) for name in names)


def required(evidence: Mapping[str, Evidence], *, draft: bool) -> Mapping[str, Figure]:
    """Return the acceptance length of both trees, which every card states.

    Raises GateError naming a figure that was not measured, unless the card is a draft.
    """
    found = {name: evidence[name].figure(ACCEPTANCE) for name in (NVFP4, MASTER)}
    for name, figure in found.items():
        if figure is None and not draft:
            raise GateError(
                f"{name}.{ACCEPTANCE} was not measured",
                why="The card states it, and states nothing without evidence.",
                hint="measure it with: invoke smoke, or render with --draft",
            )
    return {name: _figure(figure) for name, figure in found.items()}


def _row(name: str, nvfp4: Measurement | None, master: Measurement | None) -> Row:
    found = nvfp4 or master
    return Row(
        name=escape(words(name, found.unit if found else "")),
        unit=escape(found.unit) if found else "-",
        nvfp4=_figure(nvfp4),
        master=_figure(master),
    )


def _figure(found: Measurement | None) -> Figure:
    if found is None:
        return Figure(text=NOT_MEASURED, unit="-", n=0, how="-")
    return Figure(text=number(found.value), unit=escape(found.unit), n=found.n, how=escape(found.how))
