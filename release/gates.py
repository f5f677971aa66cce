"""Gates: evidence and thresholds → verdicts. Pure, but for reading the evidence files.

    [[gates]]
    name = "acceptance-length-vs-master"
    figure = "smoke-nvfp4.acceptance_length"        # <evidence input>.<measurement name>
    relative_to = "smoke-master.acceptance_length"  # optional: the threshold is a share of it
    at_least = 0.95                                 # or at_most

A figure that is missing, not finite or counted over nothing fails: "not measured" is no pass.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence, Measurement
from recipes.formats.evidence import parse as parse_evidence
from release.digest import Json
from release.errors import ConfigError
from release.hoststep import HostStep, Inputs, Params, Result
from release.tables import Table
from release.verdicts import VERDICTS_FILE, Direction, Proved, Verdict, Verdicts, dump

RECIPE_FILE = Path("recipe.toml")
PROOFS = "prove"


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

    def met_by(self, number: float) -> bool:
        """Tell whether ``number`` is on the right side of the threshold."""
        return number >= self.threshold if self.direction is Direction.AT_LEAST else number <= self.threshold


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


def judge(gate: Gate, evidence: Mapping[str, Evidence]) -> Verdict:
    """Hold one gate against the evidence."""
    figure = gate.figure.find(evidence)
    if figure is None:
        return _refuse(gate, None, f"{gate.figure} was not measured")
    if gate.relative_to is None:
        return _hold(gate, figure, None, figure.value)
    baseline = gate.relative_to.find(evidence)
    if baseline is None:
        return _refuse(gate, figure, f"{gate.relative_to}, the baseline, was not measured")
    if baseline.value == 0 or baseline.unit != figure.unit:
        bad = f"{baseline.value:g} {baseline.unit}"
        return _refuse(
            gate, figure, f"{gate.relative_to} is {bad}: no baseline for a figure in {figure.unit}"
        )
    return _hold(gate, figure, baseline, figure.value / baseline.value)


def judge_all(gates: tuple[Gate, ...], evidence: Mapping[str, Evidence]) -> Verdicts:
    """Judge every gate and carry over the outcome of every proof."""
    proofs = evidence[PROOFS].proofs
    return Verdicts(
        gates=tuple(judge(gate, evidence) for gate in gates),
        proofs=tuple(Proved(name=proof.name, holds=proof.holds, found=proof.found) for proof in proofs),
    )


def gate(inputs: Inputs, params: Params) -> Result:
    """Judge the recipe's gates (host step). Writes verdicts.json; never raises for a failed gate."""
    evidence = {name: _read(name, given.folder) for name, given in inputs.items()}
    gates = parse_gates(params.get("gates", []), tuple(sorted(inputs)))
    return Result(new={VERDICTS_FILE: dump(judge_all(gates, evidence)).encode()})


GATE = HostStep(gate, revision=1)


def _parse_gate(row: Table, inputs: tuple[str, ...]) -> Gate:
    keys = row.keys()
    given = [direction for direction in Direction if direction in keys]
    if len(given) != 1:
        raise row.error("at_least", "either at_least or at_most", f"{len(given)} of them")
    threshold = row.take(given[0].value, float)
    if not math.isfinite(threshold):
        raise row.error(given[0].value, "a finite number", str(threshold))
    return Gate(
        name=row.take("name", str),
        figure=_parse_figure(row, "figure", inputs),
        relative_to=_parse_figure(row, "relative_to", inputs) if "relative_to" in keys else None,
        direction=given[0],
        threshold=threshold,
    )


def _parse_figure(row: Table, key: str, inputs: tuple[str, ...]) -> Figure:
    text = row.take(key, str)
    name, _, figure = text.partition(".")
    if not figure or name not in inputs:
        raise row.error(key, f"<evidence>.<measurement> with evidence one of {', '.join(inputs)}", repr(text))
    return Figure(input=name, name=figure)


def _refuse(gate: Gate, figure: Measurement | None, why: str) -> Verdict:
    return Verdict(
        name=gate.name,
        holds=False,
        value=figure.value if figure else None,
        baseline=None,
        threshold=gate.threshold,
        direction=gate.direction,
        unit=figure.unit if figure else "",
        n=figure.n if figure else 0,
        sentence=f"{why}, wanted {gate.direction.words} {gate.threshold:g}",
    )


def _hold(gate: Gate, figure: Measurement, baseline: Measurement | None, number: float) -> Verdict:
    return Verdict(
        name=gate.name,
        holds=gate.met_by(number),
        value=figure.value,
        baseline=baseline.value if baseline else None,
        threshold=gate.threshold,
        direction=gate.direction,
        unit=figure.unit,
        n=figure.n,
        sentence=_sentence(gate, figure, baseline, number),
    )


def _sentence(gate: Gate, figure: Measurement, baseline: Measurement | None, number: float) -> str:
    measured = f"{gate.figure} is {figure.value:.4g} {figure.unit} (n={figure.n})"
    wanted = f"wanted {gate.direction.words} {gate.threshold:g}"
    if baseline is None:
        return f"{measured}, {wanted}"
    share = f"{number:.3f} of {gate.relative_to} at {baseline.value:.4g} (n={baseline.n})"
    return f"{measured}, {share}, {wanted}"


def _read(name: str, folder: Path) -> Evidence:
    try:
        return parse_evidence((folder / EVIDENCE_FILE).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{name}/{EVIDENCE_FILE}: expected evidence, got no such file") from error
    except ValueError as error:
        raise ConfigError(f"{name}/{error}") from error
