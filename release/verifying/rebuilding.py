"""``--rebuild``: the model files once more, from the lock and the published scales, and compared.

    master + published input scales → quantize → graft → configure       the nvfp4 repo
    master → graft → configure                                           the master's repo

Every step runs now. One whose result is in the store already is run beside it, so that a builder's
own store vouches for nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from release import line as lines
from release.assemble import CALIBRATION
from release.attesting.agree import differences
from release.derivation import Source, derive
from release.errors import LockError
from release.line import Line
from release.plan import Graph
from release.realize import Done
from release.record import Record
from release.report.terminal import Terminal
from release.rerun import compare_bytes
from release.verifying.checks import Check, judged
from release.verifying.published import Published

(SCALES,) = CALIBRATION


def rebuild(
    published: Published, scales: Mapping[str, bytes], recipe: str, scratch: Path, terminal: Terminal
) -> Iterator[Check]:
    """Build the model files of one repo again and compare; ``scales`` are the files of ``calibrate``.

    Raises LockError when the recipe at hand is not the one of the release, and what a step raises.
    """
    record = published.record
    assert record is not None, "a repo without a record is refused before"
    line = lines.open_line(recipe or record.recipe)
    target = f"configure-{record.kind}"
    _require_lock(line, record)
    whole = line.steps(record.version)
    # All of the line's sources: what the store holds for it must not become less.
    steps = replace(whole.only((target,)), sources=whole.sources)
    line, steps = _with_scales(line, steps, scales, scratch / SCALES)
    try:
        with line.store.running():
            done = lines.realize_line(line, steps, terminal)
            yield from _again(line, steps, done, terminal)
    finally:
        terminal.stop()
    tree = line.store.tree(done[target].tree)
    assert tree is not None, "realized a moment ago"
    made = {path: file.sha256 for path, file in tree.files.items()}
    there = {path: file.sha256 for path, file in published.model.files.items()}
    yield judged(
        "built again, it has the same bytes", list(differences(made, there)), f"tree {tree.digest[:12]}"
    )


def _require_lock(line: Line, record: Record) -> None:
    locked = line.locked().digest
    if locked != record.lock:
        raise LockError(
            f"{record.repo} v{record.version} was made from lock {record.lock[:12]}, "
            f"the recipe here has {locked[:12]}",
            why="Other sources or images give other bytes.",
            hint="check out the commit of that release, or name its recipe with --recipe FOLDER",
        )


def _with_scales(line: Line, steps: Graph, scales: Mapping[str, bytes], folder: Path) -> tuple[Line, Graph]:
    """Return line and graph with the published scales in place of the step that measured them."""
    if not any(step.name == SCALES for step in steps.steps):
        return line, steps
    folder.mkdir(parents=True)
    for path, data in scales.items():
        (folder / path).write_bytes(data)
    tree = line.store.stat_cache.tree(folder)
    sources = {**line.recipe.sources, SCALES: f"path:{folder}"}
    changed = replace(
        line,
        recipe=replace(line.recipe, sources=sources),
        trees={**line.trees, SCALES: tree},
    )
    graph = replace(
        steps,
        sources=(*steps.sources, Source(name=SCALES, digest=tree.digest)),
        steps=tuple(step for step in steps.steps if step.name != SCALES),
    )
    return changed, graph


def _again(line: Line, steps: Graph, done: Mapping[str, Done], terminal: Terminal) -> Iterator[Check]:
    """Run each step that was found in the store beside its result, and compare the bytes."""
    here = lines.site(line, lines.code_of(line, steps))
    executor = lines.executor(line, here, terminal)
    digests = {source.name: source.digest for source in steps.sources}
    digests |= {name: made.tree for name, made in done.items()}
    for step in steps.steps:
        if done[step.name].built:
            continue
        derivation = derive(step, {name: digests[made] for name, made in step.inputs.items()}, here)
        stored = executor.result(derivation.key, step.name)
        with executor.again(step, derivation) as out:
            compared = tuple(compare_bytes(stored, out, executor.inputs(step, derivation)))
        terminal.stop()
        flaws = [f"{found.what}: {found.found}" for found in compared if not found.holds]
        yield judged(f"{step.name}, run again", flaws, f"{len(compared)} files equal")
