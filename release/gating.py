"""``invoke gate``: judge what was measured, and explain each verdict.

The trees are served and measured first where they have not been.
"""

from collections.abc import Iterator

from release import line as lines
from release import verdicts
from release.errors import GateError
from release.report.terminal import Terminal
from release.verdicts import Outcome, Verdict, Verdicts

STEP = "gate"
_MARK = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.NOT_MEASURED: "?"}


def explain(recipe: str, terminal: Terminal) -> None:
    """Judge the line's gates and say of each what was held against what, and how it was measured.

    Raises GateError after the last one when not every gate is passed.
    """
    line = lines.open_line(recipe)
    steps = line.steps(lines.latest(line)).only((STEP,))
    failed: GateError | None = None
    try:
        lines.realize_line(line, steps, terminal)
    except GateError as error:
        failed = error  # the verdicts are in the store: they are told before the error is
    finally:
        terminal.stop()
    for text in explanation(_judged(line)):
        terminal.say(text)
    if failed is not None:
        raise failed


def explanation(judged: Verdicts) -> Iterator[str]:
    """Yield the verdicts in words: those that are not passed last, next to what is typed next."""
    order = sorted(judged.gates, key=lambda gate: (not gate.holds, gate.name))
    for gate in order:
        yield from _one(gate)
    passed = sum(gate.holds for gate in judged.gates)
    yield f"{passed} of {len(judged.gates)} gates are passed"


def _one(gate: Verdict) -> Iterator[str]:
    yield f"{_MARK[gate.outcome]} {gate.name}: {gate.outcome}"
    yield f"    {gate.sentence}"
    if gate.interval is not None and gate.outcome is Outcome.FAIL:
        low, high = gate.interval
        if low < gate.threshold <= high:
            yield "    the truth may lie on either side: more prompts narrow the interval"
    if gate.how:
        yield f"    measured: {gate.how}"


def _judged(line: lines.Line) -> Verdicts:
    key = line.store.realizations.lasts()[(line.recipe.name, STEP)]
    found = line.store.realizations.get(key)
    assert found is not None, "it was realized a moment ago"
    folder = line.store.folder(found.tree, STEP)
    return verdicts.parse((folder / verdicts.VERDICTS_FILE).read_text())
