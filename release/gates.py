"""Gates: evidence and thresholds → verdicts. Pure, but for reading the evidence files.

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

A figure that is missing, not finite or counted over too little is "not measured", and figures
that cannot be together are no measurement either: nothing but a pass lets a release go on.
Figures of fidelity that are too good to be of a packed model fail, whatever their threshold.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence, Measurement
from recipes.formats.evidence import parse as parse_evidence
from recipes.formats.sanity import ANSWERS_FILE
from release import fidelity, paired, plausible
from release.bootstrap import REPLIES_FILE, Drafts, Interval, ratio_interval, read_drafts
from release.digest import Json
from release.errors import ConfigError
from release.fidelity import FIDELITY
from release.hoststep import HostStep, Inputs, Params, Result
from release.tables import Table
from release.verdicts import VERDICTS_FILE, Direction, Outcome, Proved, Verdict, Verdicts, dump

RECIPE_FILE = Path("recipe.toml")
PROOFS = "prove"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the steps found out: evidence by input, the drafts of each reply, and each answer by task.

    ``rows`` are the texts that master and release were compared over.
    """

    evidence: Mapping[str, Evidence]
    drafts: Mapping[str, Mapping[str, Drafts]] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, paired.Answers]] = field(default_factory=dict)
    rows: tuple[fidelity.Row, ...] = ()


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


def judge(gate: Gate, found: Found) -> Verdict:
    """Hold one gate against what was found."""
    figure = gate.figure.find(found.evidence)
    if figure is None:
        return _refuse(gate, None, f"{gate.figure} was not measured")
    if gate.figure.input == FIDELITY and not figure.name.startswith(fidelity.VISION):
        odd = fidelity.too_good(found.evidence[FIDELITY])
        if odd:
            return _fail(gate, figure, f"anomalous: {odd}")
    why = _doubt(gate, figure, found.evidence[gate.figure.input])
    if why:
        return _refuse(gate, figure, why)
    if gate.paired_with is not None:
        return _hold_paired(gate, gate.paired_with, figure, found)
    if gate.relative_to is None and gate.margin is not None:
        return _hold_mean(gate, figure, found)
    if gate.relative_to is None:
        return _hold(gate, figure, None, figure.value)
    baseline = gate.relative_to.find(found.evidence)
    if baseline is None:
        return _refuse(gate, figure, f"{gate.relative_to}, the baseline, was not measured")
    why = _doubt_baseline(gate, figure, baseline, found.evidence)
    if why:
        return _refuse(gate, figure, why)
    if gate.margin is not None:
        return _hold_interval(gate, figure, baseline, found)
    return _hold(gate, figure, baseline, figure.value / baseline.value)


def judge_all(gates: tuple[Gate, ...], found: Found) -> Verdicts:
    """Judge every gate and carry over the outcome of every proof."""
    proofs = found.evidence[PROOFS].proofs
    return Verdicts(
        gates=tuple(judge(gate, found) for gate in gates),
        proofs=tuple(Proved(name=proof.name, holds=proof.holds, found=proof.found) for proof in proofs),
    )


def gate(inputs: Inputs, params: Params) -> Result:
    """Judge the recipe's gates (host step). Writes verdicts.json; never raises for a failed gate."""
    evidence = {name: _read(name, given.folder) for name, given in inputs.items()}
    gates = parse_gates(params.get("gates", []), tuple(sorted(inputs)))
    drafted = _inputs((gate.figure, gate.relative_to) for gate in gates if gate.margin is not None)
    answered = _inputs((gate.figure, gate.paired_with) for gate in gates if gate.paired_with)
    found = Found(
        evidence=evidence,
        drafts={name: _read_drafts(name, inputs[name].folder) for name in drafted if name != FIDELITY},
        answers={name: _read_answers(name, inputs[name].folder) for name in answered},
        rows=_read_rows(inputs[FIDELITY].folder) if FIDELITY in inputs else (),
    )
    return Result(new={VERDICTS_FILE: dump(judge_all(gates, found)).encode()})


GATE = HostStep(gate, revision=3)


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


def _doubt(gate: Gate, figure: Measurement, evidence: Evidence) -> str | None:
    """Return why ``figure`` is no measurement for this gate."""
    if figure.n < gate.n:
        return f"{gate.figure} was measured {figure.n} times, and {gate.n} are asked for"
    if not figure.name.startswith(ACCEPTANCE):
        return None
    served = plausible.speculative_tokens(evidence)
    if gate.k is not None and served != gate.k:
        return f"{gate.name} belongs to {gate.k} draft tokens, and {gate.figure.input} served with {served}"
    return plausible.contradiction(evidence)


def _doubt_baseline(
    gate: Gate, figure: Measurement, baseline: Measurement, evidence: Mapping[str, Evidence]
) -> str | None:
    """Return why ``baseline`` is none for ``figure``."""
    assert gate.relative_to is not None, "there is a baseline"
    if baseline.value == 0 or baseline.unit != figure.unit:
        bad = f"{baseline.value:g} {baseline.unit}"
        return f"{gate.relative_to} is {bad}: no baseline for a figure in {figure.unit}"
    if not baseline.name.startswith(ACCEPTANCE):
        return None
    ours, theirs = (
        plausible.speculative_tokens(evidence[name]) for name in (gate.figure.input, gate.relative_to.input)
    )
    if ours != theirs:
        return f"{gate.figure.input} served with {ours} draft tokens, and its baseline with {theirs}"
    return plausible.contradiction(evidence[gate.relative_to.input])


def _refuse(gate: Gate, figure: Measurement | None, why: str) -> Verdict:
    return Verdict(
        name=gate.name,
        outcome=Outcome.NOT_MEASURED,
        value=figure.value if figure else None,
        baseline=None,
        threshold=gate.threshold,
        direction=gate.direction,
        unit=figure.unit if figure else "",
        n=figure.n if figure else 0,
        sentence=f"{why}, wanted {_wanted(gate)}",
        how=figure.how if figure else "",
    )


def _hold(gate: Gate, figure: Measurement, baseline: Measurement | None, number: float) -> Verdict:
    return Verdict(
        name=gate.name,
        outcome=Outcome.PASS if gate.met_by(number) else Outcome.FAIL,
        value=figure.value,
        baseline=baseline.value if baseline else None,
        threshold=gate.threshold,
        direction=gate.direction,
        unit=figure.unit,
        n=figure.n,
        sentence=f"{_measured(gate, figure, baseline)}, wanted {_wanted(gate)}",
        how=figure.how,
    )


def _hold_interval(gate: Gate, figure: Measurement, baseline: Measurement, found: Found) -> Verdict:
    """Hold the lower bound of the share; an interval wider than the margin decides nothing."""
    assert gate.relative_to is not None, "a margin was parsed with its baseline"
    assert gate.margin is not None, "the caller asked"
    try:
        ours, theirs = (found.drafts.get(each.input, {}) for each in (gate.figure, gate.relative_to))
        interval = ratio_interval(ours, theirs)
    except ValueError as error:
        return _refuse(gate, figure, f"the replies give no interval: {error}")
    return _bounded(gate, _hold(gate, figure, baseline, interval.low), interval, "prompts")


def _hold_mean(gate: Gate, figure: Measurement, found: Found) -> Verdict:
    """Hold the bound of a mean over texts that lies on the wrong side."""
    try:
        interval = fidelity.interval_of(figure.name, found.rows)
    except ValueError as error:
        return _refuse(gate, figure, f"the texts give no interval: {error}")
    end = interval.low if gate.direction is Direction.AT_LEAST else interval.high
    return _bounded(gate, _hold(gate, figure, None, end), interval, "texts")


def _bounded(gate: Gate, plain: Verdict, interval: Interval, of: str) -> Verdict:
    """Add the interval to a verdict; one that is wider than the margin decides nothing."""
    assert gate.margin is not None, "the caller asked"
    measured, _, wanted = plain.sentence.rpartition(", wanted ")
    digits = ".3f" if gate.relative_to is not None else ".4g"
    bounds = f"between {interval.low:{digits}} and {interval.high:{digits}} over {interval.prompts} {of}"
    wide = interval.width > gate.margin
    inconclusive = f", inconclusive: wider than {gate.margin:g}" if wide else ""
    return replace(
        plain,
        outcome=Outcome.FAIL if wide else plain.outcome,
        interval=(interval.low, interval.high),
        sentence=f"{measured}, {bounds}{inconclusive}, wanted {wanted}",
    )


def _fail(gate: Gate, figure: Measurement, why: str) -> Verdict:
    plain = _hold(gate, figure, None, figure.value)
    sentence = f"{_measured(gate, figure, None)}, {why}, wanted {_wanted(gate)}"
    return replace(plain, outcome=Outcome.FAIL, sentence=sentence)


def _hold_paired(gate: Gate, with_: Figure, figure: Measurement, found: Found) -> Verdict:
    """Hold the difference of two models' answers to the same questions."""
    baseline = with_.find(found.evidence)
    if baseline is None:
        return _refuse(gate, figure, f"{with_}, the baseline, was not measured")
    try:
        ours, theirs = (found.answers.get(each.input, {}).get(each.name, {}) for each in (gate.figure, with_))
        pair = paired.compare(ours, theirs)
        judged = paired.judge(pair, gate.threshold, gate.most_gained)
    except ValueError as error:
        return _refuse(gate, figure, str(error))
    measured = f"{gate.figure} is {figure.value:.3f} and {with_} {baseline.value:.3f}"
    return replace(
        _hold(gate, figure, baseline, pair.bounds[0]),
        outcome=Outcome.PASS if judged.holds else Outcome.FAIL,
        interval=pair.bounds,
        sentence=f"{measured}, {judged.words}, wanted {_wanted(gate)}",
    )


def _measured(gate: Gate, figure: Measurement, baseline: Measurement | None) -> str:
    measured = f"{gate.figure} is {figure.value:.4g} {figure.unit} (n={figure.n})"
    if baseline is None:
        return measured
    share = figure.value / baseline.value
    return f"{measured}, {share:.3f} of {gate.relative_to} at {baseline.value:.4g} (n={baseline.n})"


def _wanted(gate: Gate) -> str:
    side = "lower" if gate.direction is Direction.AT_LEAST else "upper"
    bound = f" for the {side} 95 % bound" if gate.margin is not None or gate.paired_with else ""
    slack = f" within {gate.tolerance:.0%}" if gate.tolerance else ""
    return f"{gate.direction.words} {gate.threshold:g}{slack}{bound}"


def _inputs(figures: Iterable[tuple[Figure, Figure | None]]) -> list[str]:
    return sorted({figure.input for pair in figures for figure in pair if figure})


def _read_answers(name: str, folder: Path) -> Mapping[str, paired.Answers]:
    try:
        return paired.read_answers(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}/{ANSWERS_FILE}: expected answers, got: {error}") from error


def _read_drafts(name: str, folder: Path) -> Mapping[str, Drafts]:
    try:
        return read_drafts(folder)
    except FileNotFoundError as error:
        raise ConfigError(f"{name}/{REPLIES_FILE}: expected replies, got no such file") from error
    except ValueError as error:
        raise ConfigError(f"{name}/{error}") from error


def _read_rows(folder: Path) -> tuple[fidelity.Row, ...]:
    try:
        return fidelity.read_rows(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{FIDELITY}/{fidelity.ROWS_FILE}: {error}") from error


def _read(name: str, folder: Path) -> Evidence:
    try:
        return parse_evidence((folder / EVIDENCE_FILE).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{name}/{EVIDENCE_FILE}: expected evidence, got no such file") from error
    except ValueError as error:
        raise ConfigError(f"{name}/{error}") from error
