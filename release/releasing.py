"""``invoke release``, top-down: plan, prepare, publish, say where everything is."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from release import announcing, attest, publishing, seal, staged
from release import line as lines
from release.errors import MachineError
from release.hub.transaction import Outcome, Release, Way, publish
from release.line import Line
from release.plan import Planned, Status
from release.preparing import ASSEMBLED, Opened, Order, Prepared, open_order, prepare, show_plan
from release.report.terminal import Terminal
from release.store import durable

NOTHING = attest.Asked()


def release_version(
    order: Order,
    hub: Path | None,
    terminal: Terminal,
    way: Way,
    *,
    dry_run: bool,
    yes: bool = False,
    asked: attest.Asked = NOTHING,
) -> None:
    """Release both repos of a line as one version, or print the plan.

    ``hub`` is a folder; None is the Hub of HF_ENDPOINT, which is written to once ``yes`` was said.
    With ``Way.STAGE`` both wait, hidden from readers, for ``invoke promote``. ``asked`` says who signs.
    """
    if hub is None and not dry_run:
        publishing.require_consent(yes=yes)
    lines.parse_version(order.version)
    began, inputs = time.time_ns(), lines.inputs(order.recipe)
    stamps = seal.look(inputs)
    opened = open_order(order, terminal)
    if dry_run:
        _show(opened, hub, terminal, way)
        return
    store = opened.line.store
    attest.require_able(opened.line.recipe, asked)
    with store.running():
        prepared = prepare(opened, terminal)
        wanted = Release(version=prepared.version, repos=attest.attested(prepared, asked))
        if way is Way.STAGE:  # each signing gives other bytes: what is staged once is staged again
            assembled = {step: prepared.done[step].tree for step in ASSEMBLED}
            wanted = staged.settle(opened.line, prepared.version, assembled, wanted)
        outcome = publish(publishing.hub(hub, store.root, terminal, yes=yes), wanted, way)
        lines.keep(opened.line, prepared.version, prepared.done)
    announcing.announce(prepared, outcome, hub, terminal)
    if hub is not None and way is Way.DIRECT and not order.soak and seal.settled(stamps, began):
        question = seal.Question(
            project=lines.PROJECT,
            recipe=order.recipe,
            version=order.version,
            engine=order.engine,
            hub=hub,
            namespace=order.namespace,
        )
        _seal(question, inputs, stamps, prepared, outcome)


def _show(opened: Opened, hub: Path | None, terminal: Terminal, way: Way) -> None:
    planned = show_plan(opened, terminal)
    if hub is None:
        release = _planned_release(opened.line, opened.version, planned)
        publishing.print_plan(release, opened.line.store.root, terminal, way)


def _seal(
    question: seal.Question,
    inputs: Sequence[Path],
    stamps: seal.Stamps,
    prepared: Prepared,
    outcome: Outcome,
) -> None:
    said = announcing.said_next_time(prepared, outcome, question.hub)
    sealed = seal.dump(inputs, stamps, announcing.results(prepared, outcome), said)
    with suppress(OSError, MachineError):  # without it the next run is slower, and as right
        durable.write(question.file(prepared.line.store.root), sealed)


def _planned_release(line: Line, version: str, planned: Sequence[Planned]) -> Release | None:
    """Return the release when nothing is left to build: as it was staged, or not yet attested."""
    trees = {item.step.name: item.tree for item in planned if item.tree and item.status is Status.HIT}
    if len(trees) != len(planned):
        return None
    locked, assembled = publishing.locked_files(line), {step: trees[step] for step in ASSEMBLED}
    staged_before = staged.noted(line, version, assembled, locked)
    return staged_before or publishing.release_of(line, version, trees, locked)
