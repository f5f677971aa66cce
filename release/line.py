"""A release line, opened: what its recipe wants, what is there now, and the store.

``prepare`` builds both trees, ``publish`` makes both visible; each resumes alone.
"""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import evidence
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.progress import Update
from release import assemble, closure, gates, machine, pipeline, recipe, sbom, verdicts
from release import lock as locks
from release.card import step as card_step
from release.closure import Code
from release.derivation import Site, Source, Step
from release.digest import Tree
from release.engines.environment import uv_version
from release.engines.host import HostEngine
from release.engines.local import LocalEngine
from release.errors import BuildError, ConfigError, UsageError
from release.guard.guarded import Guarded
from release.hoststep import HostStep
from release.images import Image, this_platform
from release.images import load as load_image
from release.lock import Lock
from release.plan import Graph, Planned, plan
from release.realize import Check, Done, Executor, Listener, Runner
from release.recall import known, manifests
from release.recipe import Recipe
from release.report import page
from release.store import Store, default_root, durable
from release.store.manifests import Manifest
from release.store.roots import Rooted

ENGINE = "local"
UNRELEASED = "0.0.0"
PROJECT = Path(__file__).resolve().parent.parent

HOST_STEPS: Mapping[str, HostStep] = {
    "gate": gates.GATE,
    "card": card_step.CARD,
    "sbom": sbom.SBOM,
    "report": page.REPORT,
    "assemble": assemble.ASSEMBLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An opened release line."""

    recipe: Recipe
    trees: Mapping[str, Tree]
    images: Mapping[str, Image]
    store: Store

    def resolve(self) -> Lock:
        """Return the lock of what is there now."""
        return locks.resolve(self.recipe, self.trees, self.images)

    def machine(self) -> Mapping[str, str]:
        """Return the facts of this machine."""
        return machine.facts(ENGINE, self.store.root / "cache")

    def steps(self, version: str) -> Graph:
        """Return the steps of one release of this line. Raises LockError when out of step."""
        return self.steps_of(self.locked(), version)

    def steps_of(self, lock: Lock, version: str) -> Graph:
        """Return the steps of one release of this line as ``lock`` has it."""
        return pipeline.graph(self.recipe, lock, self.images, version, self.machine())

    def locked(self) -> Lock:
        """Return the lock of the line. Raises LockError when it is out of step."""
        lock = locks.load(self.recipe)
        locks.require_in_step(self.recipe, lock, self.resolve())
        return lock


def open_line(name: str) -> Line:
    """Open the release line of recipe ``name``, or of the recipe in the folder ``name``."""
    wanted = recipe.load(recipe.find(PROJECT, name))
    store = Store(default_root())
    line = Line(
        recipe=wanted,
        trees=locks.source_trees(wanted, store.stat_cache),
        images={
            image: load_image(PROJECT / "images", image, wanted.variant, store.stat_cache)
            for image in pipeline.IMAGES
        },
        store=store,
    )
    store.stat_cache.save()
    return line


def inputs(name: str) -> tuple[Path, ...]:
    """Return every file and folder that decides what a release of recipe ``name`` is made of."""
    wanted = recipe.load(recipe.find(PROJECT, name))
    project = (PROJECT / part for part in ("release", "recipes", "images", "tasks.py", "uv.lock"))
    sources = (recipe.source_path(wanted, source) for source in wanted.sources.values())
    return (*project, wanted.folder, *sources)


def parse_version(text: str) -> str:
    """Return ``text`` when it is a SemVer version. Raises UsageError when it is not."""
    import semver

    if not semver.Version.is_valid(text):
        raise UsageError(
            f"{text!r} is not a version", hint="write it as SemVer does, such as 0.1.0 or 1.0.0-rc.1"
        )
    return text


def latest(line: Line) -> str:
    """Return the newest released version of ``line``, or 0.0.0 before the first release."""
    return (line.store.roots.versions(line.recipe.name) or (UNRELEASED,))[-1]


def code_of(line: Line, steps: Graph) -> Mapping[str, Tree]:
    """Return the code of each step that runs in an image, by what it does."""
    imports = closure.Imports(line.store.root / "cache" / "imports.json")
    cache = line.store.stat_cache
    does = dict.fromkeys(step.does for step in steps.steps if step.image is not None)
    trees = closure.trees_of_steps(PROJECT, does, cache, imports)
    imports.save()
    cache.save()
    return trees


def site(line: Line, code: Mapping[str, Tree]) -> Site:
    """Return what steps are keyed on, on this machine."""
    revisions = {name: f"revision:{step.revision}" for name, step in HOST_STEPS.items()}
    return Site(
        code={**revisions, **{name: tree.digest for name, tree in code.items()}},
        images={name: image.input_hash(uv_version()) for name, image in line.images.items()},
        platform=this_platform(),
        machine=line.machine(),
    )


def plan_line(line: Line, steps: Graph) -> tuple[Planned, ...]:
    """Return the plan of ``steps``; nothing is built."""
    code = code_of(line, steps)

    @functools.cache
    def now() -> Mapping[str, Manifest]:
        sources = {tree.digest: Manifest(tree) for tree in line.trees.values()}
        return {**sources, **manifests(code, line.images, uv_version())}

    return plan(steps, site(line, code), known(line.store, line.recipe.name, now))


def realize_line(line: Line, steps: Graph, listener: Listener) -> dict[str, Done]:
    """Bring the sources in and realize ``steps``. Raises what a step or a check raises.

    What it uses is kept from the garbage collector until the end of ``line.store.running()``,
    or of this call where the caller holds none.
    """
    code = code_of(line, steps)
    with durable.full_disk_is_clear(line.store.root), line.store.running():
        bring(line, steps, code, listener)
        return executor(line, site(line, code), listener).realize(steps)


def bring(line: Line, steps: Graph, code: Mapping[str, Tree], listener: Listener) -> None:
    """Bring the sources of ``steps`` in, and hold them and what explains the keys."""
    sources = {source.name: source.digest for source in steps.sources}
    line.store.hold(line.recipe.name, sources, manifests(code, line.images, uv_version()))
    _fetch(line, steps, listener)


def executor(line: Line, here: Site, listener: Listener) -> Executor:
    """Return what runs the steps of ``line``."""
    host = HostEngine(HOST_STEPS)
    local = LocalEngine(store=line.store, images=line.images, code_of=lambda does: _code(does, here))
    guarded = Guarded(inner=local, floors=line.recipe.smoke.floors)

    def runner_of(step: Step) -> Runner:
        if step.does == pipeline.SERVES:
            return guarded
        return local if step.image else host

    return Executor(
        store=line.store,
        site=here,
        line=line.recipe.name,
        runner_of=runner_of,
        checks=_checks(option(line.recipe)),
        listener=listener,
    )


def option(wanted: Recipe) -> str:
    """Return the option by which a command means this recipe, with a space before it."""
    known = wanted.folder == PROJECT / "recipes" / wanted.name
    return f" --recipe {wanted.name if known else wanted.folder}"


def _checks(meant: str) -> Mapping[str, Check]:
    def proofs(folder: Path) -> None:
        text = (folder / evidence.EVIDENCE_FILE).read_text()
        verdicts.require_proofs(evidence.parse(text), meant)

    def gates(folder: Path) -> None:
        text = (folder / verdicts.VERDICTS_FILE).read_text()
        verdicts.require(verdicts.parse(text), meant)

    return {"proofs": proofs, "gates": gates}


def keep(line: Line, version: str, done: Mapping[str, Done]) -> None:
    """Make a release a root: nothing that it is made of is garbage."""
    release = {name: Rooted(step.key, step.tree) for name, step in done.items()}
    line.store.roots.put(line.recipe.name, version, release)


def check_sources(line: Line) -> None:
    """Open both checkpoints: a shard that is missing, cut short or lies about itself ends here.

    Raises ConfigError that names the file. Only headers are read.
    """
    for name in recipe.CHECKPOINTS:
        path = recipe.source_path(line.recipe, line.recipe.sources[name])
        try:
            open_checkpoint(path)
        except ValueError as error:
            raise ConfigError(
                f"source {name} ({path}): {error}",
                why="Nothing was built from it and nothing was changed.",
                hint="fetch or save the checkpoint again, then lock it",
            ) from error


def _code(does: str, here: Site) -> Code:
    """Return a step's code as it was hashed into the key. Raises BuildError when it changed."""
    code = closure.of_step(PROJECT, does)
    if code.tree.digest != here.code[does]:
        raise BuildError(
            f"the code of step {does} changed while the release was running",
            why="What runs must be what stands in the key of its result.",
            hint="run the same command again",
        )
    return code


def _fetch(line: Line, steps: Graph, listener: Listener) -> None:
    """Bring in the sources that the store lacks. What a killed try brought in is kept."""
    missing = [source for source in steps.sources if line.store.tree(source.digest) is None]
    if missing:
        check_sources(line)
        line.store.need(sum(line.store.lacks(line.trees[source.name]) for source in missing))
    for source in missing:
        _fetch_source(line, source, listener)


def _fetch_source(line: Line, source: Source, listener: Listener) -> None:
    step, tree = Step(name=f"fetch-{source.name}", does="fetch"), line.trees[source.name]
    path = recipe.source_path(line.recipe, line.recipe.sources[source.name])
    began, done = time.monotonic(), 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        listener.progress(step, Update(at="copying", done=done, total=tree.size, unit="bytes"))

    listener.started(step, source.digest)
    line.store.ingest(path, tree, read, waiting=lambda: listener.waiting(step, source.digest))
    seconds = round(time.monotonic() - began, 3)
    listener.finished(
        step,
        Done(
            key=source.digest, tree=source.digest, size=tree.size, seconds=seconds, built=True, isolation={}
        ),
    )
