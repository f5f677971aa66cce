"""``invoke status``, ``why``, ``log`` and ``diff``: questions to a line and its store.

Nothing is built and nothing is written. A question is answered for what is there now; when
the lock is out of step, the answer says so, and is what a new lock would give.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console

from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from recipes.formats.evidence import parse as parse_evidence
from release import changes, questions, recall
from release import line as lines
from release import lock as locks
from release import recipe as recipes
from release.cache.choice import Choice
from release.digest import Json, Tree
from release.errors import LockError, UsageError
from release.line import Line
from release.plan import Planned
from release.report import answers
from release.report.terminal import plan_table, size
from release.store import Store, default_root
from release.store.roots import Rooted

PUBLISHED = ("assemble-master", "assemble-nvfp4")
NO_CACHE = Choice()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A line as it is now: its plan, and where the lock is not what is there."""

    line: Line
    version: str
    planned: tuple[Planned, ...]
    out_of_step: tuple[str, ...]


def status(
    recipe: str,
    version: str,
    console: Console,
    *,
    as_json: bool,
    engine: str = lines.LOCAL,
    choice: Choice = NO_CACHE,
) -> None:
    """Show each step: in the store, in the cache, or to be built and why; then count them."""
    warnings: list[str] = []
    seen = view(recipe, version, engine=engine, choice=choice, tell=warnings.append)
    count = questions.summary(seen.planned)
    if as_json:
        _print_json(
            console,
            {
                **_head(seen),
                "steps": [questions.step_json(item) for item in seen.planned],
                "summary": count.to_json(),
                "warnings": list(warnings),
            },
        )
        return
    console.print(plan_table(seen.planned))
    console.print(str(count) + (f"; {size(count.download)} to download" if count.cached else ""))
    for warning in warnings:
        console.print(warning, markup=False)
    _print_lock(seen, console)


def why(
    recipe: str, step: str, version: str, console: Console, *, as_json: bool, engine: str = lines.LOCAL
) -> None:
    """Say why a step will run, or will not."""
    seen = view(recipe, version, engine=engine)
    store, name = seen.line.store, seen.line.recipe.name
    last = {step: key for (line, step), key in store.realizations.lasts().items() if line == name}
    answer = questions.why(step, seen.planned, last, store.roots.all(name))
    if as_json:
        _print_json(console, {**_head(seen), **answer.to_json()})
        return
    for text in answers.why_lines(answer):
        console.print(text, markup=False)
    _print_lock(seen, console)


def log(recipe: str, step: str, console: Console) -> None:
    """Print what the last run of a step printed, finished or not, and say where that is.

    Of a step that measured or proved, what it found and how.
    """
    store = Store(default_root())
    name = recipes.load(recipes.find(lines.PROJECT, recipe)).name
    key = store.logs.last(name, step) or store.realizations.lasts().get((name, step))
    if key is None:
        ran = ", ".join(store.logs.steps(name)) or "none"
        raise UsageError(f"step {step} of {name} has not run in this store", hint=f"steps that have: {ran}")
    for text in _log_lines(store, step, key):
        console.print(text, markup=False)
    done = store.realizations.get(key)
    if done is not None and (found := _evidence_of(store, done.tree)):
        for text in answers.evidence_lines(found):
            console.print(text, markup=False)


def diff(recipe: str, old: str, new: str, console: Console) -> None:
    """Say in which derivations, published files and figures two releases of a line differ."""
    line = lines.open_line(recipe)
    before, after = (_release(line, version) for version in (old, new))
    console.print(f"{line.recipe.name} {old} → {new}", markup=False)
    manifest_of = recall.known(line.store, line.recipe.name, dict).manifest_of
    steps = changes.step_changes(_derivations(line, before), _derivations(line, after), manifest_of)
    for text in answers.step_lines(tuple(steps)):
        console.print(text, markup=False)
    for step in PUBLISHED:
        files = tuple(changes.file_changes(_tree(line, before, step), _tree(line, after, step)))
        console.print(answers.files_table(f"files of {step.removeprefix('assemble-')}", files))
    figures = tuple(changes.figure_changes(_figures(line, before), _figures(line, after)))
    console.print(answers.figures_table(figures))


def view(
    recipe: str,
    version: str,
    *,
    engine: str = lines.LOCAL,
    choice: Choice | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> View:
    """Plan a line as it is now; the version is the newest released one where none is named.

    It is the plan of a release on ``engine``, which need not be running. No cache is asked
    without a ``choice``; ``tell`` hears what is wrong with it.
    """
    line = lines.open_line(recipe, engine)
    version = lines.parse_version(version) if version else lines.latest(line)
    now = line.resolve()
    cache = choice.open(line.store, line.recipe.name, tell) if choice else None
    planned = lines.plan_line(line, line.steps_of(now, version), cache)
    return View(line=line, version=version, planned=planned, out_of_step=_out_of_step(line, now))


def _log_lines(store: Store, step: str, key: str) -> Iterator[str]:
    path = store.logs.path(key, step)
    run = (
        f"{step}: its last run ({key[:8]}) {'finished' if store.realizations.get(key) else 'did not finish'}"
    )
    if path.is_file():
        yield f"{run}; its log is {path}"
        yield from path.read_text(errors="replace").splitlines()
    else:
        stone = store.tombstones.find(path.name)
        yield f"{run} and left no log"
        if (done := store.realizations.get(key)) is not None and done.signed_by:
            yield f"it ran elsewhere: the result came from a cache, signed by {done.signed_by}"
        else:
            yield str(stone) if stone else "a step without an image prints nothing"


def _out_of_step(line: Line, now: locks.Lock) -> tuple[str, ...]:
    try:
        return locks.difference(locks.load(line.recipe), now)
    except LockError as error:
        return (error.what,)


def _release(line: Line, version: str) -> Mapping[str, Rooted]:
    name = line.recipe.name
    found = line.store.roots.get(name, version)
    if found is None:
        stone = line.store.tombstones.find(f"{name} {version}")
        raise UsageError(
            f"this store has no release {version} of {name}" + (f": {stone}" if stone else ""),
            hint=f"it has: {', '.join(line.store.roots.versions(name)) or 'none'}",
        )
    return found


def _derivations(line: Line, release: Mapping[str, Rooted]) -> dict[str, Mapping[str, object]]:
    found = {step: line.store.realizations.get(made.key) for step, made in release.items()}
    return {step: made.derivation if made else {} for step, made in found.items()}


def _tree(line: Line, release: Mapping[str, Rooted], step: str) -> Tree:
    return (line.store.manifest(release[step].tree) if step in release else None) or Tree({})


def _figures(line: Line, release: Mapping[str, Rooted]) -> dict[str, Evidence]:
    found = {step: _evidence_of(line.store, made.tree) for step, made in release.items()}
    return {step: evidence for step, evidence in found.items() if evidence and evidence.measurements}


def _evidence_of(store: Store, digest: str) -> Evidence | None:
    tree = store.tree(digest)
    if tree is None or EVIDENCE_FILE not in tree.files:
        return None
    return parse_evidence(store.objects.path(tree.files[EVIDENCE_FILE].sha256).read_text())


def _head(seen: View) -> dict[str, Json]:
    return {
        "recipe": seen.line.recipe.name,
        "version": seen.version,
        "lock_out_of_step": list(seen.out_of_step),
    }


def _print_lock(seen: View, console: Console) -> None:
    if seen.out_of_step:
        console.print("the lock is out of step; this is what a new lock would give:", markup=False)
        for text in seen.out_of_step:
            console.print(f"  {text}", markup=False)
        meant = lines.option(seen.line.recipe)
        console.print(f"→ if the change is wanted, type: invoke lock{meant}", markup=False)


def _print_json(console: Console, data: Mapping[str, Json]) -> None:
    console.print(json.dumps(data, indent=1, ensure_ascii=False), markup=False, soft_wrap=True)
