"""``invoke release``, top-down: plan, prepare, publish, say where everything is."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from release import announcing, attest, publishing, seal
from release import line as lines
from release.errors import MachineError
from release.hub.transaction import Outcome, Release, RepoTree, publish
from release.line import Line
from release.plan import Planned, Status
from release.preparing import Opened, Order, Prepared, open_order, prepare, show_plan
from release.report.terminal import Terminal
from release.store import durable

NOTHING = attest.Asked()


def release_version(
    order: Order,
    hub: Path | None,
    terminal: Terminal,
    *,
    dry_run: bool,
    yes: bool = False,
    asked: attest.Asked = NOTHING,
) -> None:
    """Release both repos of a line as one version, or print the plan.

    ``hub`` is a folder; None is the Hub of HF_ENDPOINT, which is written to once ``yes`` was said.
    ``asked`` says who signs.
    """
    if hub is None and not dry_run:
        publishing.require_consent(yes=yes)
    lines.parse_version(order.version)
    began, inputs = time.time_ns(), lines.inputs(order.recipe)
    stamps = seal.look(inputs)
    opened = open_order(order, terminal)
    if dry_run:
        _show(opened, hub, terminal)
        return
    store = opened.line.store
    attest.require_able(opened.line.recipe, asked)
    with store.running():
        prepared = prepare(opened, terminal)
        whole = Release(version=prepared.version, repos=attest.attested(prepared, asked))
        outcome = publish(publishing.hub(hub, store.root, terminal, yes=yes), whole)
        lines.keep(opened.line, prepared.version, prepared.done)
    announcing.announce(prepared, outcome, hub, terminal)
    if hub is not None and seal.settled(stamps, began):
        question = seal.Question(
            project=lines.PROJECT, recipe=order.recipe, version=order.version, engine=order.engine, hub=hub
        )
        _seal(question, inputs, stamps, prepared, outcome)


def _show(opened: Opened, hub: Path | None, terminal: Terminal) -> None:
    planned = show_plan(opened, terminal)
    if hub is None:
        release = _planned_release(opened.line, opened.version, planned)
        publishing.print_plan(release, opened.line.store.root, terminal)


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
