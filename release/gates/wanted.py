"""What a recipe wants of its figures: the ``[[gates]]``, parsed.

[[gates]]
name = "acceptance-length"
figure = "smoke-nvfp4.acceptance_length"        # <evidence input>.<measurement name>
at_least = 2.5                                  # or at_most
k = 2                                           # the floor of a profile with two draft tokens
n = 36                                          # optional: fewer samples are no measurement
tolerance = 0.0                                 # optional: a share of the threshold

[[gates]]
name = "acceptance-length-vs-master"
figure = "smoke-nvfp4.acceptance_length"
relative_to = "smoke-master.acceptance_length"  # optional: the threshold is a share of it
at_least = 0.95
margin = 0.05                                   # optional: hold the lower bound of the share's
                                                # interval, which may be no wider than this

[[gates]]
name = "arithmetic-vs-master"
figure = "sanity-nvfp4.arithmetic"
paired_with = "sanity-master.arithmetic"        # answers to the same questions: release.paired
at_least = -0.10                                # the lower bound of the difference of shares
most_gained = 0.05                              # optional: a gain above it that n shows is a bug

[[gates]]
name = "divergence"
figure = "fidelity.kl_mean"
at_most = 0.05
margin = 0.02                                   # its upper bound, since it has to be small
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import Evidence, Measurement
from release import fidelity, paired
from release.digest import Json
from release.errors import ConfigError
from release.fidelity import FIDELITY
from release.tables import Table
from release.verdicts import Direction

RECIPE_FILE = Path("recipe.toml")
ACCEPTANCE = "acceptance_"
LENGTH = "acceptance_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Where a figure stands: the evidence of an input, and the measurement's name in it."""

    input: str
    name: str

    def __str__(self) -> str:
        return f"{self.input}.{self.name}"

    def find(self, evidence: Mapping[str, Evidence]) -> Measurement | None:
        """Return the measurement, or None when nothing usable was measured."""
        found = evidence[self.input].figure(self.name)
        return found if found and math.isfinite(found.value) and found.n > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One threshold that a figure, or its share of another figure, has to meet."""

    name: str
    figure: Figure
    relative_to: Figure | None
    direction: Direction
    threshold: float
    tolerance: float
    n: int
    k: int | None
    margin: float | None
    paired_with: Figure | None = None
    most_gained: float = paired.MOST_GAINED

    def met_by(self, number: float) -> bool:
        """Tell whether ``number`` is on the right side of the threshold, or within its tolerance."""
        slack = abs(self.threshold) * self.tolerance
        if self.direction is Direction.AT_LEAST:
            return number >= self.threshold - slack
        return number <= self.threshold + slack


def parse_gates(rows: Json, inputs: tuple[str, ...]) -> tuple[Gate, ...]:
    """Parse the ``[[gates]]`` of a recipe, whose figures stand in the evidence of ``inputs``.

    Raises ConfigError with the key, what was expected and what was found.
    """
    table = Table(RECIPE_FILE, {"gates": rows})
    gates = table.take_rows("gates", lambda row: _parse_gate(row, inputs))
    names = [gate.name for gate in gates]
    for twin in sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{RECIPE_FILE}: gates: expected one gate called {twin}, got {names.count(twin)}")
    return gates


def _parse_gate(row: Table, inputs: tuple[str, ...]) -> Gate:
    keys = row.keys()
    given = [direction for direction in Direction if direction in keys]
    if len(given) != 1:
        raise row.error("at_least", "either at_least or at_most", f"{len(given)} of them")
    threshold = row.take(given[0].value, float)
    if not math.isfinite(threshold):
        raise row.error(given[0].value, "a finite number", str(threshold))
    gate = Gate(
        name=row.take("name", str),
        figure=_parse_figure(row, "figure", inputs),
        relative_to=_parse_figure(row, "relative_to", inputs) if "relative_to" in keys else None,
        direction=given[0],
        threshold=threshold,
        tolerance=row.take("tolerance", float, 0.0),
        n=row.take("n", int, 1),
        k=row.take("k", int) if "k" in keys else None,
        margin=row.take("margin", float) if "margin" in keys else None,
        paired_with=_parse_figure(row, "paired_with", inputs) if "paired_with" in keys else None,
        most_gained=row.take("most_gained", float, paired.MOST_GAINED),
    )
    _refuse_meaningless(row, gate)
    return gate


def _refuse_meaningless(row: Table, gate: Gate) -> None:
    if not 0 <= gate.tolerance < 1:
        raise row.error("tolerance", "a share of the threshold, from 0 to below 1", f"{gate.tolerance:g}")
    accepts = gate.figure.name.startswith(ACCEPTANCE)
    if accepts and gate.relative_to is None and gate.k is None:
        raise row.error("k", "the draft tokens of the profile that this floor belongs to", "nothing")
    if gate.paired_with is not None and not (
        gate.direction is Direction.AT_LEAST and -1 < gate.threshold <= 0 and gate.relative_to is None
    ):
        raise row.error("paired_with", "at_least from -1 to 0, the lower bound of a difference", "another")
    if gate.margin is not None and not (gate.margin > 0 and _has_interval(gate)):
        texts = ", ".join(f"{FIDELITY}.{name}" for name in fidelity.INTERVALS)
        wanted = f"at_least of one {LENGTH} relative to another, or {texts}"
        raise row.error("margin", wanted, f"{gate.margin:g}")


def _has_interval(gate: Gate) -> bool:
    """Tell whether there is something to resample for what the gate holds."""
    if gate.relative_to is None:
        return gate.figure.input == FIDELITY and fidelity.has_interval(gate.figure.name)
    lengths = (gate.figure.name, gate.relative_to.name) == (LENGTH, LENGTH)
    return lengths and gate.direction is Direction.AT_LEAST


def _parse_figure(row: Table, key: str, inputs: tuple[str, ...]) -> Figure:
    text = row.take(key, str)
    name, _, figure = text.partition(".")
    if not figure or name not in inputs:
        raise row.error(key, f"<evidence>.<measurement> with evidence one of {', '.join(inputs)}", repr(text))
    return Figure(input=name, name=figure)
