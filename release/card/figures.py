"""Figures as the card shows them: each with its unit, n and how, or "not measured"."""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.evidence import Evidence, Measurement
from release.card.markdown import escape
from release.card.unmeasured import NOT_MEASURED
from release.errors import GateError

ACCEPTANCE = "acceptance_length"
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
    how: str


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
    hows = list(dict.fromkeys(escape(found.how) for found in (nvfp4, master) if found))
    found = nvfp4 or master
    return Row(
        name=escape(name.replace("_", " ")),
        unit=escape(found.unit) if found else "-",
        nvfp4=_figure(nvfp4),
        master=_figure(master),
        how="; master: ".join(hows),
    )


def _figure(found: Measurement | None) -> Figure:
    if found is None:
        return Figure(text=NOT_MEASURED, unit="-", n=0, how="-")
    return Figure(text=number(found.value), unit=escape(found.unit), n=found.n, how=escape(found.how))
