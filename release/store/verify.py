"""Is the store what it says? Every realization whole, every link right, every byte its digest.

``structure`` reads manifests and looks at files; ``contents`` reads every byte. A damaged
object is moved to ``tombstones/``, so that nothing uses it again: the steps that need it
are no longer hits, and the command that a flaw names brings the same bytes back.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from release.digest import CHUNK, canonical_json, sha256_bytes
from release.errors import ConfigError
from release.store import durable
from release.store.realizations import Realization
from release.store.store import Store
from release.store.tombstones import Tombstone, now

WHY = "found damaged by store.verify"
DROP_EVERY = 64 << 20
"""Bytes after which the pages read are given back: on some machines they are the GPU's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Where an object is used: a file of a step's tree, in a release or in a line's last run."""

    line: str
    version: str | None
    step: str
    path: str

    def __str__(self) -> str:
        return f"{self.line} {self.version or '(last run)'}: {self.step}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong: what, where it is used, and what to type."""

    what: str
    uses: tuple[Use, ...] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A realization, and where it stands: (line, version), None for the line's last run."""

    realization: Realization
    places: tuple[tuple[str, str | None], ...]

    def has(self, store: Store, sha256: str) -> tuple[str, ...]:
        """Return the paths of its tree that are this object."""
        return _paths(store, self.realization.tree, sha256)

    def made(self, store: Store, sha256: str) -> bool:
        """Tell whether its step wrote this object, rather than taking it from an input."""
        taken = any(_paths(store, tree, sha256) for tree in self.realization.inputs.values())
        return not taken and bool(self.has(store, sha256))


def structure(store: Store) -> Iterator[Flaw]:
    """Yield what is wrong without reading objects: keys, manifests, objects' sizes, links, roots."""
    results = tuple(_results(store))
    for path in sorted(store.realizations.folder.glob("[!.]*.json")):
        found = store.realizations.get(path.stem)
        if found is None or found.key != path.stem:
            yield Flaw(what=f"{path} does not read", hint="remove it; its step is built again when needed")
    for result in results:
        yield from _result_flaws(store, result)
    yield from _folder_flaws(store)
    yield from _root_flaws(store)


def contents(store: Store, progress: Callable[[int, int], None]) -> Iterator[Flaw]:
    """Read every object and yield those whose bytes are not their digest; move them away.

    ``progress`` is told of bytes done and in all. Objects are hashed on all cores, the
    largest first.
    """
    sizes = {path: size for path in _objects(store) if (size := _size(path)) is not None}
    total, done = sum(sizes.values()), 0
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        largest_first = sorted(sizes, key=lambda path: (-sizes[path], path))
        hashing = {pool.submit(_sha256, path): path for path in largest_first}
        for finished in as_completed(hashing):
            path, found = hashing[finished], finished.result()
            done += sizes[path]
            progress(done, total)
            if found is not None and found != path.name and (flaw := _bury(store, path, found)):
                yield flaw
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops it does not wait for 50 GB


def objects_of(store: Store) -> int:
    """Return how many objects there are."""
    return len(_objects(store))


def _results(store: Store) -> Iterator[Result]:
    places: dict[str, list[tuple[str, str | None]]] = {}
    for line in store.roots.lines():
        for version, release in store.roots.all(line).items():
            for made in release.values():
                places.setdefault(made.key, []).append((line, version))
    for (line, _), key in store.realizations.lasts().items():
        places.setdefault(key, []).append((line, None))
    for found in store.realizations.all():
        yield Result(found, tuple(places.get(found.key, ())))


def _result_flaws(store: Store, result: Result) -> Iterator[Flaw]:
    found = result.realization
    name = f"result {found.key[:8]} of {found.name}"
    if sha256_bytes(canonical_json(found.derivation)) != found.key:
        yield Flaw(
            what=f"{name}: its key is not that of its derivation",
            hint=f"remove {store.realizations.folder / found.key}.json; the step is built again when needed",
        )
    tree = store.manifest(found.tree)
    if tree is None:
        what = f"{name}: the manifest of its tree {found.tree[:8]} is missing or damaged"
        yield Flaw(what=what, uses=_uses_of(result, "*"), hint=_again(result))
        return
    for path, file in sorted(tree.files.items()):
        if not store.objects.has(file):
            what = f"{name}: {path} (object {file.sha256[:12]}) is missing or cut short"
            yield Flaw(what=what, uses=_uses_of(result, path), hint=_again(result))
        elif store.objects.path(file.sha256).stat().st_mode & 0o222:
            yield Flaw(
                what=f"{name}: {path} (object {file.sha256[:12]}) can be written to",
                uses=_uses_of(result, path),
                hint=f"chmod 444 {store.objects.path(file.sha256)}, then: invoke store.verify --contents",
            )


def _folder_flaws(store: Store) -> Iterator[Flaw]:
    trees = {path.stem[:8]: path.stem for path in (store.root / "trees").glob("[!.]*.json")}
    for folder in sorted((store.root / "out").glob("[!.]*")):
        tree = store.tree(trees.get(folder.name[:8], ""))
        if tree is not None and not store.shows(folder, tree):
            yield Flaw(
                what=f"{folder} does not show its tree: a file was replaced, added or removed",
                hint="it is made again by the next command that needs it",
            )


def _root_flaws(store: Store) -> Iterator[Flaw]:
    try:
        store.roots.sources()
    except ConfigError as error:
        yield Flaw(what=error.what, hint=error.hint)
    for line in store.roots.lines():
        for version in store.roots.versions(line):
            release = store.roots.get(line, version)
            hint = f"type: invoke release --recipe {line} --version {version}"
            if release is None:
                yield Flaw(what=f"{store.roots.path(line, version)} does not read", hint=hint)
                continue
            for step, made in sorted(release.items()):
                found = store.realizations.get(made.key)
                if found is None or found.tree != made.tree:
                    yield Flaw(what=f"release {version} of {line} has lost its result of {step}", hint=hint)


def _bury(store: Store, path: Path, found: str) -> Flaw | None:
    """Move a damaged object away and say what it was, who uses it and how to get it back.

    None when it was collected meanwhile.
    """
    sha256, size = path.name, _size(path) or 0
    results = tuple(_results(store))
    uses = tuple(
        use for result in results for name in result.has(store, sha256) for use in _uses_of(result, name)
    )
    makers = sorted((r for r in results if r.made(store, sha256)), key=lambda r: not r.places)
    grave = store.tombstones.folder / sha256
    with store.gate.exclusive() as begin:
        if not path.exists():
            return None
        begin()
        stone = Tombstone(kind="object", digest=sha256, what=sha256[:8], size=size, when=now(), why=WHY)
        store.tombstones.bury((stone,))
        durable.rename(path, grave)
        for folder in _folders_with(store, sha256):
            durable.remove(folder)
    store.forget()
    links = grave.stat().st_nlink - 1
    elsewhere = f"; {links} links of it stand elsewhere, such as in a folder Hub" if links else ""
    return Flaw(
        what=f"object {sha256[:12]} is damaged: its bytes have sha256 {found[:12]}; "
        f"moved to {grave}{elsewhere}",
        uses=uses,
        hint=_again(makers[0]) if makers else _again_source(store, sha256),
    )


def _folders_with(store: Store, sha256: str) -> Iterator[Path]:
    """Yield the shown folders that link an object: their file is the damaged one."""
    for path in sorted((store.root / "trees").glob("[!.]*.json")):
        if _paths(store, path.stem, sha256):
            yield from sorted((store.root / "out").glob(f"{path.stem[:8]}-*"))


def _paths(store: Store, tree: str, sha256: str) -> tuple[str, ...]:
    manifest = store.manifest(tree)
    files = manifest.files.items() if manifest else ()
    return tuple(sorted(path for path, file in files if file.sha256 == sha256))


def _uses_of(result: Result, path: str) -> tuple[Use, ...]:
    name = result.realization.name
    return tuple(Use(line=line, version=version, step=name, path=path) for line, version in result.places)


def _again(result: Result) -> str:
    """Say which command builds a result again."""
    name, derivation = result.realization.name, result.realization.derivation
    if not result.places:
        return "no release and no line uses it: type: invoke store.gc"
    line, version = min(result.places, key=lambda place: place[1] is not None)
    note = " (it measures: its figures will be new)" if derivation.get("machine") is not None else ""
    if version is not None:
        recipe = f"with the recipe as it was released in {version}"
        return f"{recipe}, type: invoke release --recipe {line} --version {version}{note}"
    params = derivation.get("params")
    if isinstance(params, dict) and "version" in params:
        return f"type: invoke release --recipe {line} --version {params['version']}"
    return f"type: invoke build --recipe {line} --step {name}{note}"


def _again_source(store: Store, sha256: str) -> str:
    """Say which command brings an object of a source in again."""
    for line, sources in store.roots.sources().items():
        for name, tree in sources.items():
            for path in _paths(store, tree, sha256):
                return f"it is {path} of source {name}: type: invoke build --recipe {line}"
    return "nothing uses it: type: invoke store.gc"


def _objects(store: Store) -> list[Path]:
    return sorted(store.objects.folder.glob("[0-9a-f][0-9a-f]/*"))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # collected a moment ago
        return None


def _sha256(path: Path) -> str | None:
    """Hash a file; its pages are given back on the way. None when it was collected meanwhile."""
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    try:
        with path.open("rb", buffering=0) as file:
            done = dropped = 0
            while count := file.readinto(buffer):
                digest.update(memoryview(buffer)[:count])
                done += count
                if done - dropped >= DROP_EVERY:
                    os.posix_fadvise(file.fileno(), dropped, done - dropped, os.POSIX_FADV_DONTNEED)
                    dropped = done
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except FileNotFoundError:
        return None
    return digest.hexdigest()
