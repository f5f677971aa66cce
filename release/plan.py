"""The plan: what a release will do, decided before anything is done.

Pure: lookups are handed in. A step whose inputs are not built yet has no key yet; the
plan says that it waits, because equal bytes may still make it a hit.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from release.derivation import Derivation, Site, Source, Step, changed, derive


class Status(Enum):
    """What will happen to a step."""

    HIT = "hit"
    BUILD = "build"
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One step of the plan: its key and digest where they are known, and why."""

    step: Step
    status: Status
    derivation: Derivation | None
    tree: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The steps of a release in the order they run, and the sources they start from."""

    sources: tuple[Source, ...]
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        known = {source.name for source in self.sources}
        for step in self.steps:
            missing = set(step.inputs.values()) - known
            if missing or step.name in known:
                raise ValueError(f"step {step.name}: {missing or 'name is taken'}")
            known.add(step.name)

    def only(self, targets: Iterable[str]) -> "Graph":
        """Return the part of the graph that ``targets`` need."""
        wanted = set(targets)
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(step.inputs.values())
        return Graph(
            sources=tuple(source for source in self.sources if source.name in wanted),
            steps=tuple(step for step in self.steps if step.name in wanted),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store knows of a step: the tree for a key, or the last derivation."""

    tree_of: Callable[[str], str | None]
    last: Callable[[str], Mapping[str, object] | None]


def plan(graph: Graph, site: Site, known: Known) -> tuple[Planned, ...]:
    """Return what will happen to each step of ``graph``, in order."""
    digests: dict[str, str] = {source.name: source.digest for source in graph.sources}
    planned = []
    for step in graph.steps:
        item = _plan_step(step, digests, site, known)
        if item.tree is not None:
            digests[step.name] = item.tree
        planned.append(item)
    return tuple(planned)


def _plan_step(step: Step, digests: Mapping[str, str], site: Site, known: Known) -> Planned:
    waiting = sorted(name for name in step.inputs.values() if name not in digests)
    if waiting:
        why = f"after {', '.join(waiting)}"
        return Planned(step=step, status=Status.WAIT, derivation=None, tree=None, why=why)
    derivation = derive(step, {name: digests[made_by] for name, made_by in step.inputs.items()}, site)
    tree = known.tree_of(derivation.key)
    if tree is not None:
        return Planned(step=step, status=Status.HIT, derivation=derivation, tree=tree, why="in the store")
    why = explain(derivation, known.last(step.name))
    return Planned(step=step, status=Status.BUILD, derivation=derivation, tree=None, why=why)


def explain(derivation: Derivation, last: Mapping[str, object] | None) -> str:
    """Say why ``derivation`` has no result: what changed since the step last ran."""
    if last is None:
        return "never built here"
    fields = changed(last, derivation.to_json())
    return "changed: " + ", ".join(fields) if fields else "its result is no longer in the store"
