"""A release line, opened: what its recipe wants, what is there now, and the store.

``prepare`` builds both trees, ``publish`` makes both visible; each resumes alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import evidence
from recipes.formats.checkpoint import open_checkpoint
from release import assemble, closure, gates, machine, pipeline, recipe, sbom, verdicts
from release import lock as locks
from release.card import step as card_step
from release.derivation import Site, Step
from release.digest import Tree
from release.engines.environment import uv_version
from release.engines.host import HostEngine
from release.engines.local import LocalEngine
from release.errors import ConfigError, UsageError
from release.hoststep import HostStep
from release.images import Image, this_platform
from release.images import load as load_image
from release.lock import Lock
from release.plan import Graph, Known, Planned, plan
from release.realize import Check, Done, Executor, Listener, Runner
from release.recipe import Recipe
from release.store import Store, default_root, durable

ENGINE = "local"
PROJECT = Path(__file__).resolve().parent.parent

HOST_STEPS: Mapping[str, HostStep] = {
    "gate": gates.GATE,
    "card": card_step.CARD,
    "sbom": sbom.SBOM,
    "assemble": assemble.ASSEMBLE,
}

CHECKS: Mapping[str, Check] = {
    "proofs": lambda folder: verdicts.require_proofs(
        evidence.parse((folder / evidence.EVIDENCE_FILE).read_text())
    ),
    "gates": lambda folder: verdicts.require(verdicts.parse((folder / verdicts.VERDICTS_FILE).read_text())),
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

    def steps(self, version: str) -> Graph:
        """Return the steps of one release of this line. Raises LockError when out of step."""
        return pipeline.graph(self.recipe, self.locked(), self.images, version, machine.facts(ENGINE))

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


def parse_version(text: str) -> str:
    """Return ``text`` when it is a SemVer version. Raises UsageError when it is not."""
    import semver

    if not semver.Version.is_valid(text):
        raise UsageError(
            f"{text!r} is not a version", hint="write it as SemVer does, such as 0.1.0 or 1.0.0-rc.1"
        )
    return text


def site(line: Line, steps: Graph) -> Site:
    """Return what the steps are keyed on, on this machine."""
    code = {name: f"revision:{step.revision}" for name, step in HOST_STEPS.items()}
    for step in steps.steps:
        if step.image is not None:
            code[step.does] = closure.of_step(PROJECT, step.does).tree.digest
    return Site(
        code=code,
        images={name: image.input_hash(uv_version()) for name, image in line.images.items()},
        platform=this_platform(),
        machine=machine.facts(ENGINE),
    )


def plan_line(line: Line, steps: Graph) -> tuple[Planned, ...]:
    """Return the plan of ``steps``; nothing is built."""
    store, name = line.store, line.recipe.name

    def last(step: str) -> Mapping[str, object] | None:
        found = store.realizations.last(name, step)
        return found.derivation if found else None

    return plan(steps, site(line, steps), Known(tree_of=store.tree_of, last=last))


def realize_line(line: Line, steps: Graph, listener: Listener) -> dict[str, Done]:
    """Bring the sources in and realize ``steps``. Raises what a step or a check raises."""
    _fetch(line, steps)
    host = HostEngine(HOST_STEPS)
    local = LocalEngine(
        store=line.store, images=line.images, code_of=lambda does: closure.of_step(PROJECT, does)
    )

    def runner_of(step: Step) -> Runner:
        return local if step.image else host

    executor = Executor(
        store=line.store,
        site=site(line, steps),
        line=line.recipe.name,
        runner_of=runner_of,
        checks=CHECKS,
        listener=listener,
    )
    return executor.realize(steps)


def keep(line: Line, version: str, done: Mapping[str, Done]) -> None:
    """Make a release a root: nothing that it is made of is garbage."""
    root = {name: {"key": step.key, "tree": step.tree} for name, step in sorted(done.items())}
    text = json.dumps(root, indent=1, sort_keys=True) + "\n"
    durable.write(line.store.root / "roots" / line.recipe.name / version, text.encode())


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


def _fetch(line: Line, steps: Graph) -> None:
    missing = [source for source in steps.sources if line.store.tree(source.digest) is None]
    if missing:
        check_sources(line)
        line.store.need(sum(line.trees[source.name].size for source in missing))
    for source in missing:
        path = recipe.source_path(line.recipe, line.recipe.sources[source.name])
        line.store.ingest(path, line.trees[source.name])
