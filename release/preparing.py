"""Everything of a release but publishing it: plan, build, prove, measure, gate, assemble.

A machine that builds needs no token that writes. What it hands on is small: the sums of
both trees, which a signer needs, and the evidence, which an approver reads.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipes.formats.byte_budget import ByteBudget
from release import budget, provenance
from release import line as lines
from release import lock as locks
from release.allowlist import PROVENANCE
from release.assemble import SUMS_FILE
from release.attesting.statement import dump
from release.cache.choice import Choice
from release.errors import LockError, UsageError
from release.guard.nvml import open_gpus
from release.guard.reading import pool
from release.line import Line
from release.pipeline import SERVES
from release.plan import Graph, Planned, Status
from release.realize import Done, Remote
from release.recipe import require_named, require_soak_gates
from release.record import RECORD_FILE
from release.report.terminal import Terminal, bytes_table, memory_table, plan_table, size

ASSEMBLED = ("assemble-master", "assemble-nvfp4")
HANDED_ON = (SUMS_FILE, RECORD_FILE, "evidence", "README.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for: a version of a line, where its steps run, and which cache they share.

    ``namespace`` owns both repos; empty for the recipe's own. With ``soak``, in minutes, the quantized
    tree is served for so long before it is published.
    """

    recipe: str
    version: str
    engine: str = lines.LOCAL
    cache: Choice = field(default_factory=Choice)
    namespace: str = ""
    soak: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An order whose line is open. Nothing is built yet."""

    line: Line
    version: str
    cache: Remote | None
    soak: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Both trees of a version, assembled in the store and not yet published."""

    line: Line
    steps: Graph
    version: str
    done: Mapping[str, Done]


def open_order(order: Order, terminal: Terminal) -> Opened:
    """Open the line of ``order``. Raises UsageError for what is no version, and a soak without gates."""
    version = lines.parse_version(order.version)
    line = lines.open_line(order.recipe, order.engine, order.namespace)
    if order.soak < 0:
        raise UsageError(f"--soak {order.soak}: expected minutes", hint="--soak 60 serves for an hour")
    if order.soak:
        require_soak_gates(line.recipe)
    return Opened(
        line=line,
        version=version,
        cache=order.cache.open(line.store, line.recipe.name, terminal.say),
        soak=order.soak,
    )


def show_plan(opened: Opened, terminal: Terminal) -> tuple[Planned, ...]:
    """Print and return the plan, also of a lock with unresolved entries, which are named."""
    line, lock = opened.line, opened.line.locked()
    planned = lines.plan_line(line, line.steps_of(lock, opened.version, opened.soak), opened.cache)
    terminal.console.print(plan_table(planned))
    for name, pinned in line.pinned.items():
        if lacking := line.store.lacks(pinned.tree):
            terminal.say(f"to download: {name}, {size(lacking)} of {size(pinned.tree.size)}")
    folders = line.sources.checkpoints()
    if folders:
        counted = budget.byte_budget(line.recipe, folders)
        memory = budget.memory_budgets(line.recipe, folders, counted, pool(open_gpus()))
        terminal.console.print(bytes_table(counted), memory_table(memory))
    else:
        terminal.say("bytes, and memory to serve: known once both checkpoints are on this machine")
    try:
        locks.require_resolved(line.recipe, lock, lines.option(line.recipe))
    except LockError as error:
        terminal.say(str(error))
    return planned


def prepare(opened: Opened, terminal: Terminal) -> Prepared:
    """Build, prove, measure, gate and assemble both trees; whatever is there is not built again."""
    line, version = opened.line, opened.version
    steps = line.steps(version, opened.soak)
    require_named(line.recipe)
    planned = lines.plan_line(line, steps, opened.cache)
    terminal.say(headline(line, version, planned))
    if any(item.status is not Status.HIT for item in planned):
        lines.check_card(line)
        lines.check_libraries(line, planned)
        _count(line, planned, terminal)
    try:
        done = lines.realize_line(line, steps, terminal, opened.cache)
    finally:
        terminal.stop()
    return Prepared(line=line, steps=steps, version=version, done=done)


def prepare_version(order: Order, out: Path | None, terminal: Terminal) -> None:
    """Prepare a version and say where both trees are (``invoke prepare``).

    With ``out``, each tree's sums, record, evidence and card are copied to ``out/<step>``, beside
    its provenance.
    """
    prepared = prepare(open_order(order, terminal), terminal)
    for step in ASSEMBLED:
        tree = prepared.line.store.folder(prepared.done[step].tree, step)
        terminal.say(f"{step}: {tree}")
        if out is not None:
            _hand_on(tree, out / step)
            (out / step / PROVENANCE).write_bytes(describe(prepared, step))
    if out is not None:
        terminal.say(f"sums and evidence: {out}")


def describe(prepared: Prepared, step: str) -> bytes:
    """Return the provenance of the tree of a step of ``ASSEMBLED``, unsigned."""
    kind = step.removeprefix("assemble-")
    line, steps = prepared.line, prepared.steps
    return dump(provenance.of_tree(line, steps, prepared.version, prepared.done, kind))


def build(order: Order, targets: Sequence[str], terminal: Terminal) -> None:
    """Realize what ``targets`` need, and say where each one's result is."""
    opened = open_order(order, terminal)
    line = opened.line
    steps = line.steps(opened.version).only(targets)
    try:
        done = lines.realize_line(line, steps, terminal, opened.cache)
    finally:
        terminal.stop()
    for target in targets:
        terminal.say(f"{target}: {line.store.folder(done[target].tree, target)}")


def headline(line: Line, version: str, planned: Sequence[Planned]) -> str:
    """Say how much there is to do."""
    status = [item.status for item in planned]
    cached = status.count(Status.CACHED)
    waiting = len(planned) - status.count(Status.HIT) - cached
    said = f"{line.recipe.name} {version}: {len(planned)} steps, {waiting} to build"
    if not cached:
        return said
    return f"{said}, {cached} in the cache ({size(sum(item.download for item in planned))} to download)"


def _count(line: Line, planned: Sequence[Planned], terminal: Terminal) -> None:
    """Say how many bytes are to come; refuse before anything is built for a server that would not fit."""
    folders = line.sources.checkpoints()
    if not folders:
        return
    counted = budget.byte_budget(line.recipe, folders)
    terminal.say(f"  {_bytes(counted)}")
    if any(item.step.does in SERVES and item.status is not Status.HIT for item in planned):
        memory = budget.memory_budgets(line.recipe, folders, counted, pool(open_gpus()))
        for kind, need in memory.items():
            budget.require(f"smoke-{kind}", need)


def _bytes(counted: ByteBudget) -> str:
    trees = {"nvfp4": counted.nvfp4, "master": counted.master}
    sums = ", ".join(f"{name} {size(sum(tree.values()))}" for name, tree in trees.items())
    return f"bytes of tensors to come: {sums}; {counted.packed} Linears packed"


def _hand_on(tree: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in HANDED_ON:
        source = tree / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.is_file():
            shutil.copyfile(source, target / name)
