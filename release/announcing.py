"""What a release says at its end, and what it will say next time while nothing changes."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from release import publishing, verdicts
from release.hub.transaction import Outcome, State
from release.preparing import Prepared
from release.realize import Done
from release.recipe import Recipe
from release.report.terminal import Terminal, rows_table, size

if TYPE_CHECKING:
    from rich.table import Table


BECAME = {
    State.PUBLISHED: "is released",
    State.ALREADY: "was released before; nothing changed",
    State.STAGED: "is staged; readers see nothing of it",
}


def announce(prepared: Prepared, outcome: Outcome, hub: Path | None, terminal: Terminal) -> None:
    """Say what happened and where everything is; a no-op says only where."""
    if outcome.state is not State.ALREADY:
        for table in (_steps_table(prepared), *_verdict_tables(prepared)):
            terminal.console.print(table, "")
    say_where(prepared.line.recipe, outcome, hub, terminal)


def say_where(recipe: Recipe, outcome: Outcome, hub: Path | None, terminal: Terminal) -> None:
    """Say what became of a version of ``recipe``, and where both repos are.

    What was published now is verified as readers get it: ``hub`` is a folder, None a remote Hub.
    """
    terminal.say(f"{recipe.name} {outcome.version} {BECAME[outcome.state]}:")
    for repo in outcome.repos:
        signed = "signed" if repo.signed else "not signed"
        terminal.say(f"  {repo.repo} v{outcome.version}, {signed}\n    {repo.where}")
    if hub is None:
        publishing.print_outcome(outcome, terminal)
    if outcome.state is not State.STAGED:
        publishing.verify_as_readers(outcome, hub, recipe.signing, terminal)
    if hub is not None:
        terminal.say("without graftsmith: cd into one, then: sha256sum --check SHA256SUMS")


def said_next_time(prepared: Prepared, outcome: Outcome, hub: Path) -> str:
    """Return what the same release prints while nothing changes."""
    said = io.StringIO()
    terminal = Terminal(out=said)
    steps = prepared.steps.steps
    terminal.say(f"{prepared.line.recipe.name} {prepared.version}: {len(steps)} steps, 0 to build")
    for step in steps:
        terminal.finished(step, replace(prepared.done[step.name], built=False))
    announce(prepared, replace(outcome, state=State.ALREADY), hub, terminal)
    return said.getvalue()


def results(prepared: Prepared, outcome: Outcome) -> list[Path]:
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
