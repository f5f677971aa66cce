"""The store on disk.

    objects/ab/<sha256>      files, read-only, each once
    trees/<digest>.json      manifests
    realizations/<key>.json  which tree a key gave
    out/<id8>-<name>/        trees as folders of hard links, read-only
    scratch/<key>/           a step at work; its state/ survives a kill
    locks/<key>              per-key locks
    envs/, cache/            environments, and what may be deleted at any time
    roots/<line>/<version>   release records: what the garbage collector keeps
    sources/<line>.json      the sources that a line is locked to: kept as well
    publishing/              what waits to be promoted, which is kept; notes of a publish
    pins/                    what running releases use: kept as long as they run
    manifests/<digest>.json  what a digest in a derivation was taken from
    logs/, tombstones/       what steps printed; what is gone, when and why

Commit order: objects, manifest, then the realization. A kill in between leaves files
that the next run finds and uses, never a key that points to something missing.
"""

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recipes.formats.step import TREE_FILE, Taken, parse_tree
from release.digest import File, Tree, check_path
from release.errors import BuildError, MachineError
from release.store import durable
from release.store.arrivals import Arrivals
from release.store.locks import KeyLock
from release.store.logs import Logs
from release.store.manifests import Manifest, Manifests
from release.store.objects import Objects, link, shows
from release.store.realizations import Realization, Realizations
from release.store.roots import Roots
from release.store.running import Gate, Pins
from release.store.stat_cache import StatCache
from release.store.tombstones import Tombstones
from release.store.waiting import Waiting


class Store:
    """The store at one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = Objects(root / "objects")
        self.realizations = Realizations(root / "realizations")
        self.stat_cache = StatCache(root / "cache" / "stat.json")
        self.manifests = Manifests(root / "manifests")
        self.roots = Roots(root / "roots", root / "sources")
        self.waiting = Waiting(root / "publishing" / "staged")
        self.logs = Logs(root / "logs")
        self.tombstones = Tombstones(root / "tombstones")
        self.gate = Gate(root / "locks" / "store", self.forget)
        self.pins = Pins(root / "pins", self.gate)
        self._trees: dict[str, Tree] = {}

    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> KeyLock:
        """Return the lock of ``key``, to be entered with ``with``."""
        return KeyLock(self.root / "locks" / key, waiting)

    def scratch(self, key: str) -> Path:
        """Return the folder in which the step of ``key`` works."""
        return self.root / "scratch" / key

    def forget(self) -> None:
        """Look at the disk again for what was seen before: the collector ran."""
        self._trees.clear()
        self.realizations.forget()

    def tree(self, digest: str) -> Tree | None:
        """Return the manifest of a tree whose objects are all there, else None."""
        if digest not in self._trees:
            tree = self.manifest(digest)
            if tree is None or not all(self.objects.has(file) for file in tree.files.values()):
                return None
            self._trees[digest] = tree
        return self._trees[digest]

    def manifest_path(self, digest: str) -> Path:
        """Return where the manifest of a tree lies."""
        return self.root / "trees" / f"{digest}.json"

    def manifest(self, digest: str) -> Tree | None:
        """Return the manifest of a tree, also when objects of it are gone."""
        try:
            data = json.loads(self.manifest_path(digest).read_text())
            tree = Tree.from_json(data)
        except (FileNotFoundError, ValueError):
            return None
        return tree if tree.digest == digest else None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep what this release uses, as ``use``, ``hold`` and ``record`` see it, while the block runs."""
        with self.pins.held():
            yield

    def hold(self, line: str, sources: Mapping[str, str], explained: Mapping[str, Manifest]) -> None:
        """Keep the sources of ``line`` from now on, and what explains its keys while this release runs.

        ``explained`` goes by the code and image digests of the keys; an image's names its
        environment as well.
        """
        with self.gate.shared():
            self.pins.add(*sources.values(), *explained)
            with self.lock("sources"):  # read, changed and written: by one at a time
                self.roots.hold_sources(line, sources)
            for digest, manifest in explained.items():
                self.manifests.put(digest, manifest)

    def use(self, key: str) -> Realization | None:
        """Return the realization of ``key`` when it is whole, and keep it while this release runs."""
        with self.gate.shared():
            realization = self.realizations.get(key)
            if realization is None or self.tree(realization.tree) is None:
                return None
            self.pins.add(key)
            return realization

    def use_tree(self, digest: str) -> Tree | None:
        """Return a tree when it is whole, and keep it while this release runs."""
        with self.gate.shared():
            tree = self.tree(digest)
            if tree is not None:
                self.pins.add(digest)
            return tree

    def tree_of(self, key: str) -> str | None:
        """Return the tree digest that ``key`` gave, when it is whole."""
        realization = self.realizations.get(key)
        if realization is None or self.tree(realization.tree) is None:
            return None
        return realization.tree

    def gone(self, key: str) -> str | None:
        """Say why the result of ``key`` is not here, when the store took it away itself."""
        found = self.realizations.get(key)
        tree = self.manifest(found.tree) if found else None
        lacking = [file.sha256 for file in tree.files.values() if not self.objects.has(file)] if tree else []
        stones = (self.tombstones.find(digest) for digest in (key, *lacking))
        return next((str(stone) for stone in stones if stone is not None), None)

    def put_tree(self, tree: Tree) -> str:
        """Record a manifest whose objects are in place; return its digest."""
        missing = [path for path, file in tree.files.items() if not self.objects.has(file)]
        if missing:
            raise BuildError(f"the store lacks {missing[0]} of tree {tree.digest[:8]}")
        text = json.dumps(tree.to_json(), indent=1, sort_keys=True)
        with self.gate.shared():
            durable.write(self.manifest_path(tree.digest), text.encode() + b"\n")
        return tree.digest

    def ingest(
        self,
        source: Path,
        tree: Tree,
        read: Callable[[int], None] = lambda _: None,
        waiting: Callable[[], None] = lambda: None,
    ) -> str:
        """Copy a path source of known manifest in; the source is left as it is.

        One source at a time; what a killed try had brought in is not read again. A file
        that stands as it was when it was hashed is copied without hashing it again.
        """
        source = source.resolve()
        with self.lock("ingest", waiting), self.gate.shared():
            for path, file in tree.files.items():
                at = source / path if source.is_dir() else source
                known = self.stat_cache.holds(at, file)
                unchanged = functools.partial(self.stat_cache.holds, at, file) if known else None
                self.objects.copy_in(at, file, read, unchanged)
            return self.put_tree(tree)

    def admit(self, arrivals: Arrivals, tree: Tree) -> tuple[File, ...]:
        """Take a tree in whose new files arrived from elsewhere; return those that still lack.

        Nothing is taken in while one lacks. The collector may take an object that was here
        a moment ago: bring what is returned, and ask again.
        """
        with self.gate.shared():
            away = [file for file in dict.fromkeys(tree.files.values()) if not self.objects.has(file)]
            missing = tuple(file for file in away if not arrivals.has(file))
            if not missing:
                for file in away:
                    self.objects.place(arrivals.path(file), file)
                self.put_tree(tree)
            return missing

    def folder(self, digest: str, name: str) -> Path:
        """Return a read-only folder that shows a tree, made of hard links on first use."""
        tree = self.tree(digest)
        if tree is None:
            raise BuildError(f"tree {digest[:8]} ({name}) is not whole in the store {self.root}")
        target = self.root / "out" / f"{digest[:8]}-{name}"
        if not self.shows(target, tree):
            with self.lock("out"), self.gate.shared(), durable.full_disk_is_clear(target):
                if not self.shows(target, tree):
                    self._show(target, tree)
        return target

    def shows(self, folder: Path, tree: Tree) -> bool:
        """Tell whether ``folder`` holds exactly ``tree``, by inode or stamp, without reading bytes."""
        try:
            found = {p.relative_to(folder).as_posix(): p.stat() for p in folder.rglob("*") if p.is_file()}
        except FileNotFoundError:
            return False
        if found.keys() != tree.files.keys():
            return False
        return all(
            shows(found[path], self.objects.path(file.sha256).stat()) for path, file in tree.files.items()
        )

    def commit(self, out: Path, inputs: Mapping[str, str]) -> str:
        """Turn a step's ``out/`` into a tree: new files renamed in, taken ones by digest.

        Raises BuildError when ``tree.json`` and the folder do not agree.
        """
        try:
            result = parse_tree((out / TREE_FILE).read_text())
            for path in result:
                check_path(path)
        except (FileNotFoundError, ValueError) as error:
            raise BuildError(f"the step's result does not read: {error}") from error
        self._refuse_strays(out, result)
        files = {p: self._taken(p, taken, inputs) for p, taken in result.items() if taken is not None}
        new = sorted(path for path, taken in result.items() if taken is None)
        with self.gate.shared():
            files.update(zip(new, self.objects.adopt_all([out / path for path in new]), strict=True))
            return self.put_tree(Tree(files))

    def record(self, realization: Realization, line: str) -> None:
        """Record what a key gave. From here on the key is a hit.

        Raises BuildError when its tree is not whole: a collector may have run since it was
        committed, unless both were done behind one shared gate.
        """
        with self.gate.shared():
            if self.tree(realization.tree) is None:
                raise BuildError(
                    f"tree {realization.tree[:8]} of {realization.name} is not whole in the store"
                )
            self.realizations.put(realization)
            self.realizations.set_last(line, realization.name, realization.key)
            self.pins.add(realization.key)

    def lacks(self, tree: Tree) -> int:
        """Return the bytes of a tree whose objects are not here yet."""
        return sum(file.size for file in set(tree.files.values()) if not self.objects.has(file))

    def need(self, size: int) -> None:
        """Refuse when less than ``size`` bytes and a tenth are free."""
        self.root.mkdir(parents=True, exist_ok=True)
        free, wanted = shutil.disk_usage(self.root).free, size * 11 // 10
        if free < wanted:
            raise MachineError(
                f"{self.root} has {free:,} bytes free; this needs {wanted:,}",
                hint="free some space, or set GRAFTSMITH_STORE to a larger disk",
            )

    def _taken(self, path: str, taken: Taken, inputs: Mapping[str, str]) -> File:
        tree = self.tree(inputs.get(taken.input, ""))
        if tree is None or taken.path not in tree.files:
            raise BuildError(f"{path}: the step took {taken.input}/{taken.path}, which is no input of it")
        return tree.files[taken.path]

    def _refuse_strays(self, out: Path, result: Mapping[str, Taken | None]) -> None:
        new = {path for path, taken in result.items() if taken is None}
        for item in out.rglob("*"):
            path = item.relative_to(out).as_posix()
            if item.is_symlink():
                raise BuildError(f"{path}: a step writes files, not links")
            if item.is_file() and path not in new | {TREE_FILE}:
                raise BuildError(f"{path}: the step wrote a file that {TREE_FILE} does not name")
            new.discard(path)
        if new:
            raise BuildError(f"{min(new)}: {TREE_FILE} names a new file that the step did not write")

    def _show(self, target: Path, tree: Tree) -> None:
        partial = target.with_name(f".{target.name}.part")
        durable.remove(partial)
        partial.mkdir(parents=True)
        for path, file in tree.files.items():
            link(self.objects.path(file.sha256), partial / path)
        durable.remove(target)
        durable.rename(partial, target)
