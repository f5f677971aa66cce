"""Answers to questions, as lines and tables for a terminal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from recipes.formats.evidence import Evidence
from release.changes import FigureChange, FileChange, StepChange
from release.differences import Difference
from release.plan import Planned, Status
from release.questions import Answer
from release.report.terminal import rows_table, size

FILES = 6
"""Files named under a difference; the rest is counted."""


def why_lines(answer: Answer) -> Iterator[str]:
    """Yield the answer to ``why STEP``."""
    item = answer.planned
    yield f"{item.step.name} {_headline(answer)}"
    if item.status is not Status.HIT:
        yield from _known(item)
    for cause in answer.causes:
        yield f"  {cause.step.name} will be built: {cause.why}"
        yield from _differences(cause.differences, "    ")
    if answer.last is not None:
        yield f"  {_standing(answer)}"
    if answer.follows:
        yield f"  then, unless its bytes come out equal: {', '.join(answer.follows)}"


def step_lines(changes: Sequence[StepChange]) -> Iterator[str]:
    """Yield the steps in which two versions differ."""
    yield f"steps: {len(changes)} differ" if changes else "steps: all alike"
    for change in changes:
        yield f"  {change.step}" + (f": {change.note}" if change.note else "")
        yield from _differences(change.differences, "    ")


def evidence_lines(evidence: Evidence) -> Iterator[str]:
    """Yield what a step measured and proved, and how."""
    for figure in evidence.measurements:
        yield f"  {figure.name}: {figure.value:.6g} {figure.unit} (n={figure.n}): {figure.how}"
    for proof in evidence.proofs:
        yield f"  {'✓' if proof.holds else '✗'} {proof.name}: {proof.found}; compared: {proof.compared}"


def files_table(title: str, changes: Sequence[FileChange]) -> Table:
    """Return the files in which two published trees differ."""
    rows = [(change.verb, change.path, _size(change.before), _size(change.after)) for change in changes]
    return rows_table(title, ("", "file", "before", "after"), rows)


def figures_table(changes: Sequence[FigureChange]) -> Table:
    """Return the measured figures in which two versions differ."""
    rows = [
        (
            change.step,
            change.name,
            _figure(change.before),
            _figure(change.after),
            "" if change.relative is None else f"{change.relative:+.1%}",
            change.unit,
        )
        for change in changes
    ]
    return rows_table("figures", ("step", "figure", "before", "after", "", "unit"), rows)


def _headline(answer: Answer) -> str:
    item = answer.planned
    match item.status:
        case Status.HIT:
            return "is in the store: nothing that it depends on differs from a run that finished"
        case Status.CACHED:
            return f"is in the cache: {size(item.download)} to download"
        case Status.BUILD:
            reason = item.gone if item.differences else item.why
            return f"will be built: {reason}" if reason else "will be built"
        case Status.WAIT:
            return f"waits for {', '.join(item.waits_for)}"


def _known(item: Planned) -> Iterator[str]:
    if item.status is Status.WAIT and item.differences:
        yield "  of what is known already, this differs from its last run:"
        yield from _differences(item.differences, "    ")
        return
    yield from _differences(item.differences, "  ")


def _standing(answer: Answer) -> str:
    key = (answer.last or "")[:8]
    what = f"its result {key}" if answer.planned.status is Status.HIT else f"the last result {key}"
    if not answer.released:
        return f"{what} is in no release"
    first, last = answer.released[0], answer.released[-1]
    return f"{what} stands since {first}" + (f", last in {last}" if last != first else "")


def _differences(found: Sequence[Difference], indent: str) -> Iterator[str]:
    for difference in found:
        yield f"{indent}{difference.field}: {difference.before} → {difference.after}"
        for file in difference.files[:FILES]:
            yield f"{indent}  {file}"
        if len(difference.files) > FILES:
            yield f"{indent}  and {len(difference.files) - FILES} more"


def _size(count: int | None) -> str:
    return "-" if count is None else size(count)


def _figure(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
