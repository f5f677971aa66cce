"""What was found against what is wanted. Pure.

A figure that is missing, not finite or counted over too little is "not measured", and figures
that cannot be together are no measurement either: nothing but a pass lets a release go on.
Figures of fidelity that are too good to be of a packed model fail, whatever their threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from recipes.formats.evidence import Evidence, Measurement
from release import fidelity, paired, plausible
from release.bootstrap import Drafts, Interval, ratio_interval
from release.fidelity import FIDELITY
from release.gates.wanted import ACCEPTANCE, Figure, Gate
from release.verdicts import Direction, Outcome, Proved, Verdict, Verdicts

PROOFS = "prove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the steps found out: evidence by input, the drafts of each reply, and each answer by task.

    ``rows`` are the texts that master and release were compared over.
    """

    evidence: Mapping[str, Evidence]
    drafts: Mapping[str, Mapping[str, Drafts]] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, paired.Answers]] = field(default_factory=dict)
    rows: tuple[fidelity.Row, ...] = ()


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
