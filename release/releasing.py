"""``invoke release``, top-down: plan, prepare, publish, say where everything is."""

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.formats.serving.budget import Budget
from release import budget, seal, verdicts
from release import line as lines
from release import lock as locks
from release.cache.choice import Choice
from release.errors import LockError, MachineError
from release.guard.nvml import open_gpus
from release.guard.reading import pool
from release.hub.folder import FolderHub
from release.hub.transaction import Outcome, Release, RepoTree, State, publish
from release.line import Line
from release.pipeline import SERVES
from release.plan import Graph, Planned, Status
from release.realize import Done, Remote
from release.report.terminal import Terminal, budget_table, plan_table, rows_table, size
from release.store import durable

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Both trees of a version, assembled in the store and not yet published."""

    line: Line
    steps: Graph
    version: str
    done: Mapping[str, Done]


NO_CACHE = Choice()


def release_version(
    recipe: str,
    version: str,
    hub: Path,
    terminal: Terminal,
    *,
    dry_run: bool,
    engine: str = lines.LOCAL,
    choice: Choice = NO_CACHE,
) -> None:
    """Release both repos of a line as one version, or print the plan."""
    lines.parse_version(version)
    began, inputs = time.time_ns(), lines.inputs(recipe)
    stamps = seal.look(inputs)
    line = lines.open_line(recipe, engine)
    cache = choice.open(line.store, line.recipe.name, terminal.say)
    if dry_run:
        _print_plan(line, version, cache, terminal)
        return
    steps = line.steps(version)
    planned = lines.plan_line(line, steps, cache)
    _require_memory(line, planned)
    terminal.say(_headline(line, version, planned))
    with line.store.running():
        prepared = prepare(line, steps, version, terminal, cache)
        outcome = publish(FolderHub(hub), _release(prepared))
        lines.keep(line, version, prepared.done)
    _report(prepared, outcome, terminal)
    if seal.settled(stamps, began):
        question = seal.Question(project=lines.PROJECT, recipe=recipe, version=version, hub=hub)
        sealed = seal.dump(inputs, stamps, _results(prepared, outcome), _said_next_time(prepared, outcome))
        with suppress(OSError, MachineError):  # without it the next run is slower, and as right
            durable.write(question.file(line.store.root), sealed)


def _require_memory(line: Line, planned: Sequence[Planned]) -> None:
    """Refuse before anything is built for a server that would not fit into this machine's memory."""
    if any(item.step.does == SERVES and item.status is not Status.HIT for item in planned):
        for kind, need in _budgets(line).items():
            budget.require(f"smoke-{kind}", need)


def _budgets(line: Line) -> Mapping[str, Budget]:
    """Return the memory of serving each tree; empty until both checkpoints are on this machine."""
    folders = lines.checkpoints(line)
    return budget.budgets(line.recipe, folders, pool(open_gpus())) if folders else {}


def prepare(
    line: Line, steps: Graph, version: str, terminal: Terminal, cache: Remote | None = None
) -> Prepared:
    """Build, prove, measure, gate and assemble both trees; whatever is there is not built again."""
    try:
        done = lines.realize_line(line, steps, terminal, cache)
    finally:
        terminal.stop()
    return Prepared(line=line, steps=steps, version=version, done=done)


def _print_plan(line: Line, version: str, cache: Remote | None, terminal: Terminal) -> None:
    """Print the plan, also of a lock with unresolved entries, which it names."""
    lock = line.locked()
    terminal.console.print(plan_table(lines.plan_line(line, line.steps_of(lock, version), cache)))
    if counted := _budgets(line):
        terminal.console.print(budget_table(counted))
    else:
        terminal.say("memory of serving: known once both checkpoints are on this machine")
    try:
        locks.require_resolved(line.recipe, lock, lines.option(line.recipe))
    except LockError as error:
        terminal.say(str(error))


def _release(prepared: Prepared) -> Release:
    repos = prepared.line.recipe.repos
    return Release(
        version=prepared.version,
        repos=(
            _repo_tree(prepared, "assemble-master", repos.master),
            _repo_tree(prepared, "assemble-nvfp4", repos.nvfp4),
        ),
    )


def _repo_tree(prepared: Prepared, step: str, repo: str) -> RepoTree:
    store, digest = prepared.line.store, prepared.done[step].tree
    tree = store.tree(digest)
    assert tree is not None, f"{step} was realized a moment ago"
    return RepoTree(repo=repo, root=store.folder(digest, step), tree=tree)


def _report(prepared: Prepared, outcome: Outcome, terminal: Terminal) -> None:
    """Say what happened and where everything is; a no-op says only where."""
    if outcome.state is State.PUBLISHED:
        for table in (_steps_table(prepared), *_verdict_tables(prepared)):
            terminal.console.print(table, "")
    said = "is released" if outcome.state is State.PUBLISHED else "was released before; nothing changed"
    terminal.say(f"{prepared.line.recipe.name} {outcome.version} {said}:")
    for repo in outcome.repos:
        terminal.say(f"  {repo.repo} v{outcome.version}\n    {repo.where}")
    terminal.say("to check one: cd into it, then: sha256sum --check SHA256SUMS")


def _headline(line: Line, version: str, planned: Sequence[Planned]) -> str:
    status = [item.status for item in planned]
    waiting = len(planned) - status.count(Status.HIT) - status.count(Status.CACHED)
    said = f"{line.recipe.name} {version}: {len(planned)} steps, {waiting} to build"
    if not status.count(Status.CACHED):
        return said
    download = size(sum(item.download for item in planned))
    return f"{said}, {status.count(Status.CACHED)} in the cache ({download} to download)"


def _said_next_time(prepared: Prepared, outcome: Outcome) -> str:
    """Return what the same release prints while nothing changes."""
    said = io.StringIO()
    terminal = Terminal(out=said)
    version = f"{prepared.line.recipe.name} {prepared.version}"
    terminal.say(f"{version}: {len(prepared.steps.steps)} steps, 0 to build")
    for step in prepared.steps.steps:
        terminal.finished(step, replace(prepared.done[step.name], built=False, pulled=None))
    _report(prepared, replace(outcome, state=State.ALREADY), terminal)
    return said.getvalue()


def _results(prepared: Prepared, outcome: Outcome) -> list[Path]:
    """Return the files that make the release a finished one: in the store and on the Hub."""
    store, version = prepared.line.store, prepared.version
    found = [store.roots.path(prepared.line.recipe.name, version)]
    for done in prepared.done.values():
        tree = store.tree(done.tree)
        assert tree is not None, f"{done.tree} was realized a moment ago"
        found += [store.realizations.path(done.key), store.manifest_path(done.tree)]
        found += [store.objects.path(file.sha256) for file in tree.files.values()]
    return found + [Path(repo.where) for repo in outcome.repos]


def _steps_table(prepared: Prepared) -> "Table":
    rows = [
        (
            name,
            done.key[:8],
            done.how,
            size(done.size),
            f"{done.seconds:.1f}",
            ", ".join(done.isolation.values()),
        )
        for name, done in prepared.done.items()
    ]
    return rows_table(
        f"steps: {_counts(tuple(prepared.done.values()))}",
        ("step", "key", "", "size", "seconds", "isolation"),
        rows,
    )


def _counts(done: Sequence[Done]) -> str:
    """Count where results come from: "2 built, 10 in the store, 3 from the cache (1.2 MB)"."""
    how = [step.how for step in done]
    said = f"{how.count('built')} built, {how.count('hit')} in the store"
    pulled = sum(step.pulled or 0 for step in done)
    return f"{said}, {how.count('cached')} from the cache ({size(pulled)})" if "cached" in how else said


def _verdict_tables(prepared: Prepared) -> "tuple[Table, Table]":
    folder = prepared.line.store.folder(prepared.done["gate"].tree, "gate")
    judged = verdicts.parse((folder / verdicts.VERDICTS_FILE).read_text())
    proofs = [(_mark(proof.holds), proof.name, proof.found) for proof in judged.proofs]
    gates = [(_mark(gate.holds), gate.name, gate.sentence) for gate in judged.gates]
    return (
        rows_table("proofs", ("", "proof", "found"), proofs),
        rows_table("gates", ("", "gate", "verdict"), gates),
    )


def _mark(holds: bool) -> str:
    return "✓" if holds else "✗"
