"""``invoke release``, top-down: plan, prepare, publish, say where everything is."""

import io
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from release import line as lines
from release import lock as locks
from release import seal, verdicts
from release.errors import LockError, MachineError
from release.hub.folder import FolderHub
from release.hub.transaction import Outcome, Release, RepoTree, State, publish
from release.line import Line
from release.plan import Graph, Status
from release.realize import Done
from release.recipe import require_named
from release.report.terminal import Terminal, plan_table, rows_table, size
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


def release_version(recipe: str, version: str, hub: Path, terminal: Terminal, *, dry_run: bool) -> None:
    """Release both repos of a line as one version, or print the plan."""
    lines.parse_version(version)
    began, inputs = time.time_ns(), lines.inputs(recipe)
    stamps = seal.look(inputs)
    line = lines.open_line(recipe)
    if dry_run:
        _print_plan(line, version, terminal)
        return
    steps = line.steps(version)
    require_named(line.recipe)
    planned = lines.plan_line(line, steps)
    waiting = sum(item.status is not Status.HIT for item in planned)
    if waiting:
        lines.check_card(line)
    terminal.say(_headline(line, version, len(planned), waiting))
    with line.store.running():
        prepared = prepare(line, steps, version, terminal)
        outcome = publish(FolderHub(hub), _release(prepared))
        lines.keep(line, version, prepared.done)
    _report(prepared, outcome, terminal)
    if seal.settled(stamps, began):
        question = seal.Question(project=lines.PROJECT, recipe=recipe, version=version, hub=hub)
        sealed = seal.dump(inputs, stamps, _results(prepared, outcome), _said_next_time(prepared, outcome))
        with suppress(OSError, MachineError):  # without it the next run is slower, and as right
            durable.write(question.file(line.store.root), sealed)


def prepare(line: Line, steps: Graph, version: str, terminal: Terminal) -> Prepared:
    """Build, prove, measure, gate and assemble both trees; whatever is there is not built again."""
    try:
        done = lines.realize_line(line, steps, terminal)
    finally:
        terminal.stop()
    return Prepared(line=line, steps=steps, version=version, done=done)


def _print_plan(line: Line, version: str, terminal: Terminal) -> None:
    """Print the plan, also of a lock with unresolved entries, which it names."""
    lock = line.locked()
    terminal.console.print(plan_table(lines.plan_line(line, line.steps_of(lock, version))))
    for name, pinned in line.pinned.items():
        if lacking := line.store.lacks(pinned.tree):
            terminal.say(f"to download: {name}, {size(lacking)} of {size(pinned.tree.size)}")
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


def _headline(line: Line, version: str, steps: int, waiting: int) -> str:
    return f"{line.recipe.name} {version}: {steps} steps, {waiting} to build"


def _said_next_time(prepared: Prepared, outcome: Outcome) -> str:
    """Return what the same release prints while nothing changes."""
    said = io.StringIO()
    terminal = Terminal(out=said)
    terminal.say(_headline(prepared.line, prepared.version, len(prepared.steps.steps), 0))
    for step in prepared.steps.steps:
        terminal.finished(step, replace(prepared.done[step.name], built=False))
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
            "built" if done.built else "hit",
            size(done.size),
            f"{done.seconds:.1f}",
            ", ".join(done.isolation.values()),
        )
        for name, done in prepared.done.items()
    ]
    return rows_table("steps", ("step", "key", "", "size", "seconds", "isolation"), rows)


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
