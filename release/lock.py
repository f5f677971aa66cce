"""The lock: what the recipe's names resolved to. ``recipes/<name>/recipe.lock``.

The digest of the lock is in every release record. A release runs only when the lock is
in step: each source has the digest that it had when it was locked, and so has each image.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.digest import Tree, canonical_json, sha256_bytes
from release.errors import LockError
from release.images import Image
from release.recipe import Recipe, source_path
from release.store import durable
from release.store.stat_cache import StatCache

FORMAT = 1
LOCK_FILE = "recipe.lock"


@dataclass(frozen=True, slots=True)
class LockedSource:
    """A source as the recipe names it, and the tree that it is."""

    source: str
    tree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Everything that a release line takes from outside, by digest."""

    sources: Mapping[str, LockedSource]
    images: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The hex sha256 of the lock's content."""
        return sha256_bytes(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, object]:
        """Return the content of the lock file."""
        return {
            "format": FORMAT,
            "sources": {
                name: {"source": s.source, "tree": s.tree} for name, s in sorted(self.sources.items())
            },
            "images": dict(sorted(self.images.items())),
        }


def resolve(recipe: Recipe, trees: Mapping[str, Tree], images: Mapping[str, Image]) -> Lock:
    """Return the lock of what is there now."""
    return Lock(
        sources={name: LockedSource(source, trees[name].digest) for name, source in recipe.sources.items()},
        images={f"{name}/{image.variant}": image.context.digest for name, image in images.items()},
    )


def source_trees(recipe: Recipe, cache: StatCache) -> Mapping[str, Tree]:
    """Return the tree of each source as it is now, reading only what changed."""
    return {name: cache.tree(source_path(recipe, source)) for name, source in recipe.sources.items()}


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
                sources={
                    str(name): LockedSource(str(entry["source"]), str(entry["tree"]))
                    for name, entry in sources.items()
                },
                images={str(name): str(digest) for name, digest in images.items()},
            )
    raise ValueError("format, sources and images are not all there")


def difference(old: Lock, new: Lock) -> tuple[str, ...]:
    """Say, one line each, where two locks differ."""
    lines = []
    before: dict[str, str] = {n: f"{s.source} {s.tree}" for n, s in old.sources.items()} | dict(old.images)
    after: dict[str, str] = {n: f"{s.source} {s.tree}" for n, s in new.sources.items()} | dict(new.images)
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


def _short(entry: str) -> str:
    *source, digest = entry.split(" ")
    return " ".join([*source, digest[:12]])
