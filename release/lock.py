"""The lock: what the recipe's names resolved to. ``recipes/<name>/recipe.lock``.

The digest of the lock is in every release record. A release runs only when the lock is
in step: each source has the digest that it had when it was locked, and so has each image.

A source on a Hub is locked with its commit and with the digest of each file, as the Hub
told them when it was asked (``release/hub/listing.py``). What nobody has asked for yet, or
an image that nobody has described yet, stands in the lock as unresolved: ``null``, never a
digest that was not seen. A plan can be made of such a lock, a release cannot.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.digest import Tree, canonical_json, sha256_bytes
from release.errors import LockError
from release.images import Image
from release.recipe import Recipe, hub_sources, path_sources
from release.store import durable
from release.store.stat_cache import StatCache

FORMAT = 1
LOCK_FILE = "recipe.lock"
UNRESOLVED = "unresolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What a Hub said that a revision is: the commit, and its files."""

    commit: str
    tree: Tree


@dataclass(frozen=True, slots=True)
class LockedSource:
    """A source as the recipe names it, and the tree that it is; None while unresolved.

    ``pinned`` is there for a source on a Hub.
    """

    source: str
    tree: str | None
    pinned: Pinned | None = None

    def to_json(self) -> dict[str, object]:
        """Return the source's entry in the lock file."""
        entry: dict[str, object] = {"source": self.source, "tree": self.tree}
        if self.pinned is not None:
            entry |= {"commit": self.pinned.commit, "files": self.pinned.tree.to_json()}
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Everything that a release line takes from outside, by digest."""

    sources: Mapping[str, LockedSource]
    images: Mapping[str, str | None]

    @property
    def digest(self) -> str:
        """The hex sha256 of the lock's content."""
        return sha256_bytes(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, object]:
        """Return the content of the lock file."""
        return {
            "format": FORMAT,
            "sources": {name: source.to_json() for name, source in sorted(self.sources.items())},
            "images": dict(sorted(self.images.items())),
        }

    @property
    def trees(self) -> Mapping[str, str]:
        """The tree of each resolved source."""
        return {name: source.tree for name, source in self.sources.items() if source.tree is not None}

    @property
    def unresolved_sources(self) -> Mapping[str, str]:
        """The sources that have no digest yet, as the recipe names them."""
        return {name: source.source for name, source in self.sources.items() if source.tree is None}

    @property
    def unresolved_images(self) -> tuple[str, ...]:
        """The images that ``images/`` does not describe yet."""
        return tuple(name for name, digest in self.images.items() if digest is None)


def resolve(
    recipe: Recipe,
    trees: Mapping[str, Tree],
    pinned: Mapping[str, Pinned],
    images: Mapping[str, Image | None],
) -> Lock:
    """Return the lock of what is there now. What is in neither mapping is unresolved."""
    sources = {}
    for name, source in recipe.sources.items():
        tree = pinned[name].tree if name in pinned else trees.get(name)
        sources[name] = LockedSource(source, tree.digest if tree is not None else None, pinned.get(name))
    return Lock(
        sources=sources,
        images={
            f"{name}/{recipe.variant}": image.context.digest if image else None
            for name, image in images.items()
        },
    )


def source_trees(recipe: Recipe, cache: StatCache) -> Mapping[str, Tree]:
    """Return the tree of each source on this machine as it is now, reading only what changed."""
    return {name: cache.tree(path) for name, path in path_sources(recipe).items()}


def pins(recipe: Recipe) -> Mapping[str, Pinned]:
    """Return what a Hub said of the recipe's sources when they were locked.

    A source that the recipe names otherwise by now has no pin, and neither has anything
    while there is no lock that reads.
    """
    try:
        locked = load(recipe).sources
    except LockError:
        return {}
    wanted = {name: str(source) for name, source in hub_sources(recipe).items()}
    return {
        name: entry.pinned
        for name, entry in locked.items()
        if entry.pinned is not None and wanted.get(name) == entry.source
    }


def write(recipe: Recipe, lock: Lock) -> Path:
    """Write the lock beside its recipe."""
    path = recipe.folder / LOCK_FILE
    durable.write(path, (json.dumps(lock.to_json(), indent=1, sort_keys=True) + "\n").encode())
    return path


def load(recipe: Recipe) -> Lock:
    """Read the lock. Raises LockError when it is missing or does not read."""
    path = recipe.folder / LOCK_FILE
    hint = f"type: invoke lock --recipe {recipe.name}"
    try:
        return _parse(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise LockError(f"{path}: there is no lock yet", hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise LockError(f"{path}: expected a lock of format {FORMAT}, got: {error}", hint=hint) from error


def _parse(data: Mapping[str, object]) -> Lock:
    match data:
        case {"format": 1, "sources": dict(sources), "images": dict(images), **rest} if not rest:
            return Lock(
                sources={str(name): _parse_source(str(name), entry) for name, entry in sources.items()},
                images={str(name): _digest(f"images.{name}", value) for name, value in images.items()},
            )
    raise ValueError("format, sources and images are not all there")


def _parse_source(name: str, entry: Mapping[str, object]) -> LockedSource:
    source, tree = str(entry["source"]), _digest(f"sources.{name}.tree", entry["tree"])
    if "files" not in entry:
        return LockedSource(source, tree)
    pinned = Pinned(commit=str(entry["commit"]), tree=Tree.from_json(entry["files"]))
    if pinned.tree.digest != tree:
        raise ValueError(f"sources.{name}: its files have digest {pinned.tree.digest}, not {tree}")
    return LockedSource(source, tree, pinned)


def _digest(key: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise ValueError(f"{key}: a digest or null, not {value!r}")


def difference(old: Lock, new: Lock) -> tuple[str, ...]:
    """Say, one line each, where two locks differ."""
    lines = []
    before, after = _entries(old), _entries(new)
    for name in sorted({*before, *after}):
        a, b = before.get(name, "nothing"), after.get(name, "nothing")
        if a != b:
            lines.append(f"{name}: {_short(a)} → {_short(b)}")
    return tuple(lines)


def require_in_step(recipe: Recipe, locked: Lock, now: Lock) -> None:
    """Refuse a lock that is not what the recipe and its sources are now."""
    lines = difference(locked, now)
    if lines:
        raise LockError(
            f"{recipe.folder / LOCK_FILE} is out of step with the recipe:\n  " + "\n  ".join(lines),
            why="A release is made of what was locked, and of nothing else.",
            hint=f"if the change is wanted, type: invoke lock --recipe {recipe.name}",
        )


def require_resolved(recipe: Recipe, locked: Lock, option: str) -> None:
    """Refuse a lock with unresolved entries: what to type for each is in the error.

    ``option`` is what a command needs to mean this recipe, such as `` --recipe name``.
    """
    sources, images = locked.unresolved_sources, locked.unresolved_images
    if not sources and not images:
        return
    lines = [f"  source {name}: {source}" for name, source in sources.items()]
    lines += [f"  image {name}: images/ does not describe it" for name in images]
    typed = [f"invoke lock{option} --update {name}" for name in sources]
    typed += [f"invoke lock{option}, once images/ describes {', '.join(images)}"] if images else []
    raise LockError(
        f"{recipe.folder / LOCK_FILE} is unresolved:\n" + "\n".join(lines),
        why="A release is made of digests that were seen, and of no others.",
        hint="type: " + "\n        ".join(typed),
    )


def _entries(lock: Lock) -> dict[str, str]:
    sources = {name: f"{s.source} {s.tree or UNRESOLVED}" for name, s in lock.sources.items()}
    return {**sources, **{name: digest or UNRESOLVED for name, digest in lock.images.items()}}


def _short(entry: str) -> str:
    *source, digest = entry.split(" ")
    return " ".join([*source, digest[:12]])
