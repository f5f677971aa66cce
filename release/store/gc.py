"""Garbage: what nobody needs, found, recorded and taken away.

Garbage is everything that ``live`` does not name. It is decided and moved out of the way
behind the store's gate, in the reverse of the commit's order, so that no kill leaves a key
that points to something missing; it is deleted after that.
"""

import itertools
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from release.store import built, durable
from release.store.live import Live, mark
from release.store.running import if_free
from release.store.store import Store
from release.store.tombstones import Tombstone, now
from release.store.trace import Kind as Point
from release.store.trace import point

GARBAGE = "garbage"
WHY = "collected by gc"


class Kind(Enum):
    """What a piece of garbage is, in the order in which garbage is moved away."""

    RELEASE = "release record"
    RESULT = "result"
    FOLDER = "shown folder"
    TREE = "tree"
    MANIFEST = "manifest"
    OBJECT = "object"
    ENVIRONMENT = "environment"
    IMAGE = "record of an image"
    COMPILED = "cache of containers"
    LOG = "log"
    DAMAGED = "damaged object"
    SCRATCH = "unfinished work"
    LEFTOVER = "leftover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One thing to take away. ``lock`` must be free for it, where it names one."""

    kind: Kind
    path: Path
    digest: str
    what: str
    lock: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a run took away, or would take: the pieces, and the bytes that the disk gets back.

    A file that is linked from elsewhere (a folder Hub, uv's cache) frees nothing.
    """

    garbage: tuple[Garbage, ...]
    bytes: dict[Kind, int]

    @property
    def total(self) -> int:
        """The bytes of all kinds."""
        return sum(self.bytes.values())


def collect(
    store: Store, *, keep: int | None, dry_run: bool, waiting: Callable[[], None] = lambda: None
) -> Collected:
    """Take away what nobody needs, or only say what that is.

    ``keep`` is how many releases of each line stay, None for all. ``waiting`` is called
    when another process writes to the store at this moment, or collects.
    """
    with store.lock("gc", waiting):
        with store.gate.exclusive(waiting) as begin, ExitStack() as locks:
            store.forget()
            live = mark(store, keep)
            garbage = tuple(_free(store, find(store, live), locks))
            found = Collected(garbage=garbage, bytes=_bytes(garbage))
            if dry_run:
                return found
            begin()
            store.tombstones.bury(_stones(garbage))
            _move_away(store, garbage)
        store.forget()
        durable.remove(store.root / GARBAGE)
    return found


def wheels(store: Store) -> tuple[Path, int]:
    """Return where uv keeps the wheels of environments, and its bytes on disk: uv's own to prune."""
    folder = store.root / "cache" / "uv"
    return folder, sum(found.st_blocks * 512 for found in _stats(folder)) if folder.is_dir() else 0


def find(store: Store, live: Live) -> Iterator[Garbage]:
    """Yield what is in the store and not kept, in the order to move it away."""
    yield from _releases(store, live)
    yield from _results(store, live)
    yield from _folders(store, live)
    yield from _json_files(store.root / "trees", live.known_trees, Kind.TREE)
    yield from _json_files(store.manifests.folder, live.manifests, Kind.MANIFEST)
    yield from _files(store, live)
    yield from _environments(store, live)
    if not store.pins.live():  # a release that runs now may be in the middle of an older image's steps
        yield from _images(store, live)
        yield from _compiled(store, live)
    yield from _logs(store, live)
    yield from _damaged(store)
    yield from _scratch(store)
    yield from _leftovers(store)


def _releases(store: Store, live: Live) -> Iterator[Garbage]:
    for line in store.roots.lines():
        for version in store.roots.versions(line):
            if (line, version) not in live.releases:
                path = store.roots.path(line, version)
                yield Garbage(
                    kind=Kind.RELEASE, path=path, digest=f"{line} {version}", what=f"{line} {version}"
                )


def _results(store: Store, live: Live) -> Iterator[Garbage]:
    for path in _listed(store.realizations.folder, "*.json"):
        if path.stem not in live.keys:
            found = store.realizations.get(path.stem)
            yield Garbage(
                kind=Kind.RESULT, path=path, digest=path.stem, what=found.name if found else "does not read"
            )


def _folders(store: Store, live: Live) -> Iterator[Garbage]:
    kept = {digest[:8] for digest in live.trees}
    for path in _listed(store.root / "out", "*"):
        if path.name[:8] not in kept:
            yield Garbage(kind=Kind.FOLDER, path=path, digest=path.name, what=path.name)


def _json_files(folder: Path, kept: frozenset[str], kind: Kind) -> Iterator[Garbage]:
    for path in _listed(folder, "*.json"):
        if path.stem not in kept:
            yield Garbage(kind=kind, path=path, digest=path.stem, what=path.stem[:8])


def _files(store: Store, live: Live) -> Iterator[Garbage]:
    for path in _listed(store.objects.folder, "[0-9a-f][0-9a-f]/*"):
        if path.name not in live.objects:
            yield Garbage(kind=Kind.OBJECT, path=path, digest=path.name, what=path.name[:8])


def _environments(store: Store, live: Live) -> Iterator[Garbage]:
    folder = store.root / "envs"
    if folder.is_symlink():  # another store's: it is not ours to free
        return
    for path in _listed(folder, "*"):
        name = path.name.removesuffix(".partial")
        if name not in live.environments or name != path.name:
            yield Garbage(
                kind=Kind.ENVIRONMENT, path=path, digest=path.name, what=path.name, lock=f"env-{name}"
            )


def _images(store: Store, live: Live) -> Iterator[Garbage]:
    """Yield what is kept of images: record, bill, log. The engine's own copy is the engine's to remove."""
    images = built.folder(store.root)
    for path in sorted(images.folder.glob("*")):
        inputs = built.HASH.match(path.name.removeprefix(".building-"))
        if inputs is None or (inputs[0] in live.built and not path.name.startswith(".")):
            continue
        found = images.get(inputs[0]) if path.suffix == ".json" else None
        what = f"{found.tag} (docker image rm {found.tag})" if found else path.name
        yield Garbage(kind=Kind.IMAGE, path=path, digest=inputs[0], what=what, lock=f"image-{inputs[0]}")


def _compiled(store: Store, live: Live) -> Iterator[Garbage]:
    """Yield what programs compiled for themselves in containers of images that are not kept."""
    kept = {image.cache_name for image, _ in built.folder(store.root).all() if image.inputs in live.built}
    for path in _listed(store.root / "cache" / "containers", "*"):
        if path.name.partition("-")[0] not in kept:
            yield Garbage(kind=Kind.COMPILED, path=path, digest=path.name, what=path.name)


def _logs(store: Store, live: Live) -> Iterator[Garbage]:
    for path in _listed(store.logs.folder, "*.log"):
        if path.name not in live.logs:
            yield Garbage(kind=Kind.LOG, path=path, digest=path.name, what=path.name)


def _damaged(store: Store) -> Iterator[Garbage]:
    for path in _listed(store.tombstones.folder, "[0-9a-f]*"):
        if not path.suffix:  # the tombstones themselves stay
            yield Garbage(kind=Kind.DAMAGED, path=path, digest=path.name, what=path.name[:8])


def _scratch(store: Store) -> Iterator[Garbage]:
    for path in _listed(store.root / "scratch", "*"):
        yield Garbage(kind=Kind.SCRATCH, path=path, digest=path.name, what=path.name[:12], lock=path.name)


def _leftovers(store: Store) -> Iterator[Garbage]:
    """Yield what killed writers left: nobody writes now, so nobody will finish it."""
    plain = ("objects", "trees", "realizations", "manifests", "out", "sources", "tombstones")
    folders = (*plain, "realizations/last/*", "logs/last/*", "roots/*")
    hidden = (path for name in folders for path in sorted(store.root.glob(f"{name}/.*")))
    for path in (*hidden, *_listed(store.root / GARBAGE, "*")):
        yield Garbage(kind=Kind.LEFTOVER, path=path, digest=path.name, what=path.name)


def _listed(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _free(store: Store, garbage: Iterable[Garbage], locks: ExitStack) -> Iterator[Garbage]:
    """Leave out what a running step holds by its lock; hold what nobody holds."""
    free: dict[str, bool] = {}
    for item in garbage:
        if item.lock is not None and item.lock not in free:
            free[item.lock] = locks.enter_context(if_free(store.root / "locks" / item.lock))
        if item.lock is None or free[item.lock]:
            yield item


def _move_away(store: Store, garbage: Iterable[Garbage]) -> None:
    (store.root / GARBAGE).mkdir(exist_ok=True)
    away = Path(tempfile.mkdtemp(dir=store.root / GARBAGE))
    numbers = itertools.count()
    for kind, items in itertools.groupby(garbage, key=lambda item: item.kind):
        folders = set()
        for item in items:
            target = away / str(next(numbers))
            with point(Point.RENAME, item.path):
                item.path.rename(target)
            folders.add(item.path.parent)
        if kind is Kind.RESULT:  # before what it points to, also after a power cut
            for folder in sorted(folders):
                durable.sync_folder(folder)


def _stones(garbage: Iterable[Garbage]) -> Iterator[Tombstone]:
    when = now()
    for item in garbage:
        if item.kind is Kind.DAMAGED:  # it was buried when it was found
            continue
        yield Tombstone(
            kind=item.kind.value,
            digest=item.digest,
            what=item.what,
            size=_size(item.path),
            when=when,
            why=WHY,
        )


def _bytes(garbage: Iterable[Garbage]) -> dict[Kind, int]:
    """Return the bytes on disk that each kind frees: those of files whose every link goes."""
    links: dict[tuple[int, int], tuple[Kind, int, int]] = {}
    for item in garbage:
        for found in _stats(item.path):
            inode = (found.st_dev, found.st_ino)
            _, _, left = links.get(inode, (item.kind, 0, found.st_nlink))
            links[inode] = (item.kind, found.st_blocks * 512, left - 1)
    freed = dict.fromkeys(Kind, 0)
    for kind, size, left in links.values():
        if left <= 0:
            freed[kind] += size
    return freed


def _size(path: Path) -> int:
    return sum(found.st_size for found in _stats(path))


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Yield the plain files at or below ``path``."""
    found = path.lstat()
    if stat.S_ISREG(found.st_mode):
        yield found
    elif stat.S_ISDIR(found.st_mode):
        for folder, _, names in os.walk(path):
            for name in names:
                inner = (Path(folder) / name).lstat()
                if stat.S_ISREG(inner.st_mode):
                    yield inner
