"""``invoke release``, top-down: plan, prepare, publish, say where everything is."""

import io
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from release import line as lines
from release import publishing, seal, verdicts
from release.errors import MachineError
from release.hub.transaction import Outcome, Release, RepoTree, State, publish
from release.line import Line
from release.plan import Graph, Planned, Status
from release.realize import Done
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


def release_version(
    recipe: str, version: str, hub: Path | None, terminal: Terminal, *, dry_run: bool, yes: bool = False
) -> None:
    """Release both repos of a line as one version, or print the plan.

    ``hub`` is a folder; None is the Hub of HF_ENDPOINT, which is written to once ``yes`` was said.
    """
    if hub is None and not dry_run:
        publishing.require_consent(yes=yes)
    lines.parse_version(version)
    began, inputs = time.time_ns(), lines.inputs(recipe)
    stamps = seal.look(inputs)
    line = lines.open_line(recipe)
    steps = line.steps(version)
    planned = lines.plan_line(line, steps)
    if dry_run:
        terminal.console.print(plan_table(planned))
        if hub is None:
            publishing.print_plan(_planned_release(line, version, planned), line.store.root, terminal)
        return
    waiting = sum(item.status is not Status.HIT for item in planned)
    terminal.say(_headline(line, version, len(planned), waiting))
    with line.store.running():
        prepared = prepare(line, steps, version, terminal)
        outcome = publish(publishing.hub(hub, line.store.root, terminal, yes=yes), _release(prepared))
        lines.keep(line, version, prepared.done)
    _report(prepared, outcome, terminal)
    if hub is not None and seal.settled(stamps, began):
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


def _release(prepared: Prepared) -> Release:
    return _release_of(
        prepared.line, prepared.version, {name: done.tree for name, done in prepared.done.items()}
    )


def _planned_release(line: Line, version: str, planned: Sequence[Planned]) -> Release | None:
    """Return the release when nothing is left to build."""
    trees = {item.step.name: item.tree for item in planned if item.tree and item.status is Status.HIT}
    return _release_of(line, version, trees) if len(trees) == len(planned) else None


def _release_of(line: Line, version: str, trees: Mapping[str, str]) -> Release:
    repos = line.recipe.repos
    return Release(
        version=version,
        repos=(
            _repo_tree(line, trees, "assemble-master", repos.master),
            _repo_tree(line, trees, "assemble-nvfp4", repos.nvfp4),
        ),
    )


def _repo_tree(line: Line, trees: Mapping[str, str], step: str, repo: str) -> RepoTree:
    store, digest = line.store, trees[step]
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
    if any(repo.commit for repo in outcome.repos):
        publishing.print_outcome(outcome, terminal)
        return
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
