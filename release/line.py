"""A release line, opened: what its recipe wants, what is there now, and the store.

``plan_line`` says what there is to do, ``realize_line`` does it, ``keep`` notes what a release is made of.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recipes.formats import evidence
from release import assemble, closure, machine, pipeline, recipe, verdicts
from release import lock as locks
from release.card import bill, licences
from release.card import step as card_step
from release.card.facts import parse_facts
from release.card.unfilled import unfilled
from release.closure import Code
from release.derivation import Site, Step
from release.digest import Tree
from release.engines import libraries
from release.engines.environment import uv_record, uv_version
from release.engines.host import HostEngine
from release.engines.local import LocalEngine
from release.errors import BuildError, ConfigError, UsageError
from release.fetching import Sources
from release.gates.step import GATE
from release.guard.guarded import Guarded
from release.home import PROJECT as PROJECT  # as others know it
from release.hoststep import HostStep
from release.images import IMAGES, Image, this_platform
from release.images import find as find_image
from release.lock import Lock, Pinned
from release.plan import Graph, Planned, Status, plan
from release.realize import Check, Done, Executor, Listener, Remote, Runner
from release.recall import known, manifests
from release.recipe import Recipe
from release.report import page
from release.store import Store, default_root, durable
from release.store import built as builts
from release.store.manifests import Manifest
from release.store.roots import Rooted

LOCAL, DOCKER = "local", "docker"
ENGINES = (LOCAL, DOCKER)
UNRELEASED = "0.0.0"

HOST_STEPS: Mapping[str, HostStep] = {
    "gate": GATE,
    "card": card_step.CARD,
    "sbom": bill.SBOM,
    "report": page.REPORT,
    "assemble": assemble.ASSEMBLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An opened release line.

    ``trees`` are the sources on this machine, ``pinned`` those on a Hub as they were locked.
    An image of which ``images/`` has no such variant is None in ``described``.
    """

    recipe: Recipe
    trees: Mapping[str, Tree]
    described: Mapping[str, Image | None]
    store: Store
    pinned: Mapping[str, Pinned] = field(default_factory=dict)
    engine: str = LOCAL

    @property
    def images(self) -> Mapping[str, Image]:
        """The images that ``images/`` describes."""
        return {name: image for name, image in self.described.items() if image is not None}

    @property
    def sources(self) -> Sources:
        """What the line is made of."""
        return Sources(recipe=self.recipe, here=self.trees, pinned=self.pinned, store=self.store)

    def resolve(self) -> Lock:
        """Return the lock of what is there now; a Hub is not asked."""
        return locks.resolve(self.recipe, self.trees, self.pinned, self.described)

    def machine(self) -> Mapping[str, str]:
        """Return the facts of this machine."""
        return machine.facts(self.engine, self.store.root / "cache")

    def steps(self, version: str, soak: int = 0) -> Graph:
        """Return the steps of one release of this line, with a soak of so many minutes.

        Raises LockError when the lock is out of step, or unresolved.
        """
        lock = self.locked()
        locks.require_resolved(self.recipe, lock, option(self.recipe))
        return self.steps_of(lock, version, soak)

    def steps_of(self, lock: Lock, version: str, soak: int = 0) -> Graph:
        """Return the steps of one release of this line as ``lock`` has it."""
        return pipeline.graph(self.recipe, lock, self.images, version, self.machine(), soak)

    def locked(self) -> Lock:
        """Return the lock of the line. Raises LockError when it is out of step."""
        lock = locks.load(self.recipe)
        locks.require_in_step(self.recipe, lock, self.resolve())
        return lock


def open_line(name: str, engine: str = LOCAL, namespace: str = "") -> Line:
    """Open the release line of recipe ``name``, or of the recipe in the folder ``name``.

    ``engine`` is where its steps will run. Raises UsageError for one that does not exist.
    ``namespace`` owns both repos, where it is given; else the recipe's own does.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}", hint=f"there are: --engine {' or '.join(ENGINES)}")
    wanted = recipe.load(recipe.find(PROJECT, name), namespace)
    store = Store(default_root())
    line = Line(
        recipe=wanted,
        trees=locks.source_trees(wanted, store.stat_cache),
        described={image: _image(image, wanted.variant, store, engine) for image in IMAGES},
        store=store,
        pinned=locks.pins(wanted),
        engine=engine,
    )
    store.stat_cache.save()
    return line


def _image(name: str, variant: str, store: Store, engine: str) -> Image | None:
    image = find_image(PROJECT / "images", name, variant, store.stat_cache)
    return image.in_container() if image and engine == DOCKER else image


def inputs(name: str) -> tuple[Path, ...]:
    """Return every file and folder that decides what a release of recipe ``name`` is made of."""
    wanted = recipe.load(recipe.find(PROJECT, name))
    project = (PROJECT / part for part in ("release", "recipes", "images", "tasks.py", "uv.lock"))
    return (*project, wanted.folder, *recipe.path_sources(wanted).values(), uv_record())


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
        containers=_containers(line) if line.engine == DOCKER else {},
    )


def _containers(line: Line) -> Mapping[str, str]:
    """Return what the container of each image was built from."""
    found = {}
    for name, image in line.images.items():
        inputs = image.build_hash(this_platform())
        built = builts.folder(line.store.root).get(inputs)
        found[name] = built.identity if built else inputs
    return found


def plan_line(line: Line, steps: Graph, cache: Remote | None = None) -> tuple[Planned, ...]:
    """Return the plan of ``steps``; nothing is built."""
    code = code_of(line, steps)

    @functools.cache
    def now() -> Mapping[str, Manifest]:
        sources = {tree.digest: Manifest(tree) for tree in line.sources.trees.values()}
        return {**sources, **manifests(code, line.images, uv_version())}

    memory = known(line.store, line.recipe.name, now)
    return plan(steps, site(line, code), replace(memory, offered=cache.offer) if cache else memory)


def realize_line(
    line: Line, steps: Graph, listener: Listener, cache: Remote | None = None
) -> dict[str, Done]:
    """Bring the sources in and realize ``steps``. Raises what a step or a check raises.

    What it uses is kept from the garbage collector until the end of ``line.store.running()``,
    or of this call where the caller holds none.
    """
    waiting = (Status.BUILD, Status.WAIT)
    if line.engine == DOCKER:
        require_engine(line, [one.step for one in plan_line(line, steps, cache) if one.status in waiting])
    code = code_of(line, steps)
    with durable.full_disk_is_clear(line.store.root), line.store.running():
        bring(line, steps, code, listener)
        return executor(line, site(line, code), listener, cache).realize(steps)


def require_engine(line: Line, steps: Iterable[Step]) -> None:
    """Refuse, before the first of ``steps`` runs, what the engine would refuse at a later one.

    Raises MachineError where no engine answers, and BuildError for an image that it lacks.
    """
    if line.engine == LOCAL:
        return
    from release.engines import docker

    for name in sorted({step.image for step in steps if step.image}):
        docker.require_ready(line.images[name], line.store)


def bring(line: Line, steps: Graph, code: Mapping[str, Tree], listener: Listener) -> None:
    """Bring the sources of ``steps`` in, and hold them and what explains the keys."""
    sources = {source.name: source.digest for source in steps.sources}
    line.store.hold(line.recipe.name, sources, manifests(code, line.images, uv_version()))
    line.sources.bring(steps.sources, listener)


def executor(line: Line, here: Site, listener: Listener, cache: Remote | None = None) -> Executor:
    """Return what runs the steps of ``line``."""
    host = HostEngine(HOST_STEPS)
    engine = _engine(line, here)
    guarded = Guarded(inner=engine, floors=line.recipe.smoke.floors)

    def runner_of(step: Step) -> Runner:
        if step.does in pipeline.SERVES:
            return guarded
        return engine if step.image else host

    return Executor(
        store=line.store,
        site=here,
        line=line.recipe.name,
        runner_of=runner_of,
        checks=_checks(option(line.recipe)),
        listener=listener,
        remote=cache,
    )


def _engine(line: Line, here: Site) -> Runner:
    """Return what runs the steps of images: the one place that asks which engine it is."""

    def code(does: str) -> Code:
        return _code(does, here)

    if line.engine == LOCAL:
        return LocalEngine(store=line.store, images=line.images, code_of=code)
    from release.engines.docker import DockerEngine  # the SDK takes 0.4 s to import

    return DockerEngine(store=line.store, images=line.images, code_of=code)


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
    with line.store.gate.shared():
        line.store.roots.put(line.recipe.name, version, release)


def check_card(line: Line) -> None:
    """Refuse, before anything is built, what the card's step would refuse at the end.

    Raises ConfigError for a word of the recipe or a licence that a release may not inherit.
    """
    folder = recipe.source_path(line.recipe, line.recipe.sources["templates"])
    if keys := unfilled(line.recipe.card):
        raise ConfigError(
            f"{line.recipe.folder / recipe.RECIPE_FILE}: nobody has filled in: {', '.join(keys)}",
            why="A card says what its maker knows; what nobody said, it cannot say.",
            hint="write these words, or take the key away where it may be left out",
        )
    facts = parse_facts(line.recipe.card, line.locked().trees.get("base", ""))
    licences.check(licences.closure(facts), licences.read_policy(folder))


def check_libraries(line: Line, planned: Sequence[Planned]) -> None:
    """Refuse, before anything is built, what the local engine could not run here. Raises MachineError."""
    waiting = {item.step.image for item in planned if item.status is not Status.HIT}
    if line.engine == LOCAL:
        libraries.require(libraries.missing(image for name, image in line.images.items() if name in waiting))


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
