"""``invoke store.verify``, ``store.gc`` and ``rebuild``.

Is the store right, is it no larger than it needs to be, and does a step give again what it gave?
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from recipes.formats.progress import Update
from release import line as lines
from release import rerun
from release.derivation import Step
from release.engines import environment
from release.errors import GateError, ProofError, UsageError
from release.hoststep import Input
from release.questions import find
from release.report import upkeep as report
from release.report.terminal import Terminal
from release.store import Store, default_root, gc
from release.store import verify as check
from release.store.verify import Flaw


def verify(terminal: Terminal, *, contents: bool) -> None:
    """Check the store's links and manifests, and with ``contents`` every byte. Raises ProofError."""
    store = Store(default_root())
    flaws = []
    try:
        for flaw in _flaws(store, terminal, contents=contents):
            terminal.stop()
            flaws.append(flaw)
            for text in report.flaw_lines(flaw):
                terminal.console.print(text, markup=False)
    finally:
        terminal.stop()
    objects, environments = check.objects_of(store), len(environment.installed(store))
    what = "read and found right" if contents else "looked at (bytes are read with --contents)"
    if flaws:
        raise ProofError(
            f"{len(flaws)} flaws in {store.root}",
            why="What the store says it holds is what every key and every release rests on.",
            hint="what is damaged is used no more; the commands above bring it back",
        )
    terminal.console.print(
        f"{store.root}: {objects} objects and {environments} environments {what}", markup=False
    )


def collect(terminal: Terminal, *, keep: int | None, dry_run: bool) -> None:
    """Free what no release, no line and no running release needs, or say what that is.

    ``keep`` is how many releases of each line stay, None for all.
    """
    store = Store(default_root())

    def waiting() -> None:
        terminal.console.print("waiting for a release that writes to the store at this moment", markup=False)

    found = gc.collect(store, keep=keep, dry_run=dry_run, waiting=waiting)
    if found.garbage:
        terminal.console.print(report.garbage_table(found))
    for text in report.garbage_lines(found, store.root, dry_run=dry_run):
        terminal.console.print(text, markup=False)
    folder, nbytes = gc.wheels(store)
    if nbytes:
        terminal.console.print(report.wheels_line(folder, nbytes), markup=False, soft_wrap=True)


def rebuild(
    recipe: str,
    step: str,
    version: str,
    tolerance: float,
    terminal: Terminal,
    *,
    engine: str = lines.LOCAL,
) -> None:
    """Build a finished step again beside its result and compare.

    Raises ProofError when bytes that are promised differ, GateError when a figure is
    further off than ``tolerance``.
    """
    line = lines.open_line(recipe, engine)
    steps = line.steps(lines.parse_version(version) if version else lines.latest(line)).only((step,))
    planned = lines.plan_line(line, steps)
    item = find(step, planned)
    if item.derivation is None or item.tree is None:
        raise UsageError(
            f"{step} is not in the store: there is nothing to compare with ({item.why})",
            hint=f"build it first: invoke build --step {step}{lines.option(line.recipe)}",
        )
    lines.require_engine(line, (item.step,))
    code = lines.code_of(line, steps)
    executor = lines.executor(line, lines.site(line, code), terminal)
    with line.store.running():
        lines.bring(line, steps, code, terminal)
        stored = executor.result(item.derivation.key, step)
        try:
            with executor.again(item.step, item.derivation) as out:
                terminal.stop()
                _judge(
                    item.step, stored, out, executor.inputs(item.step, item.derivation), tolerance, terminal
                )
        finally:
            terminal.stop()


def _judge(
    step: Step, stored: Input, out: Path, inputs: Mapping[str, Input], tolerance: float, terminal: Terminal
) -> None:
    """Print how a second run compares with the result. Raises what ``rebuild`` raises."""
    if step.measures:
        found = tuple(rerun.compare_figures(stored.folder, out, tolerance))
    else:
        found = tuple(rerun.compare_bytes(stored, out, inputs))
    terminal.console.print(report.compared_table(step.name, found))
    failed = [one for one in found if not one.holds]
    kept = f"what was built now is kept in {out} until the next store.gc; the result stays as it is"
    if failed and step.measures:
        raise GateError(
            f"{step.name}: {len(failed)} of {len(found)} figures are more than {tolerance:.1%} apart",
            why="Figures of one machine should come out alike; other work on it moves them.",
            hint=f"run it again on a quiet machine, or name a --tolerance; {kept}",
        )
    if failed:
        raise ProofError(
            f"{step.name}: {len(failed)} of {len(found)} files differ: {failed[0].what}: {failed[0].found}",
            why="The same derivation must give the same bytes; this one does not.",
            hint=kept,
        )
    how = (
        f"{len(found)} figures within {tolerance:.1%}"
        if step.measures
        else f"{len(found)} files, byte for byte"
    )
    terminal.console.print(f"{step.name}: built again, the same result: {how}", markup=False)


def _flaws(store: Store, terminal: Terminal, *, contents: bool) -> Iterator[Flaw]:
    with store.gate.shared():  # a collector would be seen half done
        yield from check.structure(store)
    for folder in environment.installed(store):
        if not environment.complete(folder):
            yield Flaw(
                what=f"environment {folder.name} is not complete",
                hint="the next command that needs it installs it anew; store.gc removes what is left",
            )
    if contents:
        yield from check.contents(store, _progress(terminal, "objects", "bytes"))
        for folder in filter(environment.complete, environment.installed(store)):
            progress = _progress(terminal, f"environment {folder.name[:8]}", "files")
            for file in environment.damaged(folder, progress):
                yield Flaw(
                    what=f"environment {folder.name}: {file} is not what its wheel's RECORD says",
                    hint=f"type: rm -r {folder}; the next command that needs it installs it from its lock",
                )


def _progress(terminal: Terminal, at: str, unit: str) -> Callable[[int, int], None]:
    step = Step(name="verify", does="verify")
    terminal.stop()
    terminal.started(step, "")

    def tell(done: int, total: int) -> None:
        terminal.progress(step, Update(at=f"reading {at}", done=done, total=total, unit=unit))

    return tell
