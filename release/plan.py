"""The plan: what a release will do, decided before anything is done.

Pure: lookups are handed in. A step whose inputs are not built yet has no key yet; the
plan says that it waits, because equal bytes may still make it a hit.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from release.derivation import Derivation, Site, Source, Step, derive
from release.differences import Difference, ManifestOf, differences
from release.digest import File
from release.errors import UsageError


class Status(Enum):
    """What will happen to a step."""

    HIT = "hit"
    CACHED = "cached"
    BUILD = "build"
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One step of the plan: its key and digest where they are known, and why.

    ``differences`` are those from the step's last run, as far as its inputs are known;
    ``waits_for`` names the inputs that are not; ``gone`` says why a result that was there
    once is there no more. ``download`` counts the bytes that a cached result brings, those
    of steps before it left out.
    """

    step: Step
    status: Status
    derivation: Derivation | None
    tree: str | None
    why: str
    differences: tuple[Difference, ...] = ()
    waits_for: tuple[str, ...] = ()
    gone: str | None = None
    download: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a remote cache has for a key: the tree it gave, and its files that are not here."""

    tree: str
    lacks: frozenset[File]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The steps of a release in the order they run, and the sources they start from.

    ``unresolved`` names the sources that have no digest yet: what reads them waits.
    """

    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    unresolved: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {source.name for source in self.sources} | set(self.unresolved)
        for step in self.steps:
            missing = set(step.inputs.values()) - known
            if missing or step.name in known:
                raise ValueError(f"step {step.name}: {missing or 'name is taken'}")
            known.add(step.name)

    def only(self, targets: Iterable[str]) -> "Graph":
        """Return the part of the graph that ``targets`` need.

        Raises UsageError for a target that is no step of it.
        """
        wanted, names = set(targets), [step.name for step in self.steps]
        if unknown := sorted(wanted - set(names)):
            raise UsageError(f"there is no step {unknown[0]!r}", hint=f"use one of: {', '.join(names)}")
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted.update(step.inputs.values())
        return Graph(
            sources=tuple(source for source in self.sources if source.name in wanted),
            steps=tuple(step for step in self.steps if step.name in wanted),
            unresolved=tuple(name for name in self.unresolved if name in wanted),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store knows.

    ``tree_of`` gives the tree of a key, ``last`` the derivation of a step's last run,
    ``manifest_of`` what a digest was taken from, ``gone`` why a key's result is no longer
    there (for a sentence: "collected by gc on 2026-11-23"), ``offered`` what a remote cache has.
    """

    tree_of: Callable[[str], str | None]
    last: Callable[[str], Mapping[str, object] | None]
    manifest_of: ManifestOf = lambda _: None
    gone: Callable[[str], str | None] = lambda _: None
    offered: Callable[[Step, Derivation], Offer | None] = lambda *_: None


def plan(graph: Graph, site: Site, known: Known) -> tuple[Planned, ...]:
    """Return what will happen to each step of ``graph``, in order."""
    digests: dict[str, str] = {source.name: source.digest for source in graph.sources}
    coming: set[File] = set()
    planned = []
    for step in graph.steps:
        item = _plan_step(step, digests, site, known, coming)
        if item.tree is not None:
            digests[step.name] = item.tree
        planned.append(item)
    return tuple(planned)


def _plan_step(
    step: Step, digests: Mapping[str, str], site: Site, known: Known, coming: set[File]
) -> Planned:
    inputs = {name: digests[made_by] for name, made_by in step.inputs.items() if made_by in digests}
    waits_for = tuple(sorted({made_by for made_by in step.inputs.values() if made_by not in digests}))
    if step.image is not None and step.image not in site.images:
        lacks = f"image {step.image}: no such variant in images/ yet"
        return _waiting(step, waits_for, (lacks, _after(waits_for)))
    derivation = derive(step, inputs, site)
    if waits_for:
        found = _differences(step, derivation, known)
        return _waiting(step, waits_for, (_after(waits_for), _changed(found)), found)
    tree = known.tree_of(derivation.key)
    if tree is not None:
        return Planned(step=step, status=Status.HIT, derivation=derivation, tree=tree, why="in the store")
    offer = known.offered(step, derivation)
    if offer is not None:
        new = offer.lacks - coming
        coming |= new
        return Planned(
            step=step,
            status=Status.CACHED,
            derivation=derivation,
            tree=offer.tree,
            why="in the cache",
            download=sum(file.size for file in new),
        )
    found = _differences(step, derivation, known)
    gone = known.gone(derivation.key)
    return Planned(
        step=step,
        status=Status.BUILD,
        derivation=derivation,
        tree=None,
        why=explain(known.last(step.name) is not None, found, gone),
        differences=found,
        gone=gone,
    )


def _waiting(
    step: Step, waits_for: tuple[str, ...], why: tuple[str, ...], found: tuple[Difference, ...] = ()
) -> Planned:
    return Planned(
        step=step,
        status=Status.WAIT,
        derivation=None,
        tree=None,
        why="; ".join(filter(None, why)),
        differences=found,
        waits_for=waits_for,
    )


def _after(waits_for: tuple[str, ...]) -> str:
    return f"after {', '.join(waits_for)}" if waits_for else ""


def explain(ran: bool, found: tuple[Difference, ...], gone: str | None) -> str:
    """Say why there is no result: where it went, and what changed since the step last ran."""
    if not ran:
        return gone or "never built here"
    if found:
        return "; ".join(part for part in (gone, _changed(found)) if part)
    return gone or "its result is no longer in the store"


def _differences(step: Step, new: Derivation, known: Known) -> tuple[Difference, ...]:
    """Compare with the last run, but for inputs that are not known yet."""
    last = known.last(step.name)
    if last is None:
        return ()
    old = dict(last)
    if isinstance(inputs := old.get("inputs"), Mapping):
        waiting = set(step.inputs) - set(new.inputs)
        old["inputs"] = {name: digest for name, digest in inputs.items() if name not in waiting}
    return differences(old, new.to_json(), known.manifest_of)


def _changed(found: tuple[Difference, ...]) -> str:
    return "changed: " + ", ".join(difference.short for difference in found) if found else ""
