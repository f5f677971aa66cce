"""The store on disk.

    objects/ab/<sha256>      files, read-only, each once
    trees/<digest>.json      manifests
    realizations/<key>.json  which tree a key gave
    out/<id8>-<name>/        trees as folders of hard links, read-only
    scratch/<key>/           a step at work; its state/ survives a kill
    locks/<key>              per-key locks
    envs/, cache/            environments, and what may be deleted at any time
    roots/<line>/<version>   release records: what the garbage collector keeps

Commit order: objects, manifest, then the realization. A kill in between leaves files
that the next run finds and uses, never a key that points to something missing.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from recipes.formats.step import TREE_FILE, Taken, parse_tree
from release.digest import File, Tree, check_path
from release.errors import BuildError, MachineError
from release.store import durable
from release.store.locks import KeyLock
from release.store.objects import Objects, link
from release.store.realizations import Realization, Realizations
from release.store.stat_cache import StatCache


def default_root() -> Path:
    """Return GRAFTSMITH_STORE, or the user's data folder shared by all clones."""
    named = os.environ.get("GRAFTSMITH_STORE")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(named).absolute() if named else Path(data) / "graftsmith"


class Store:
    """The store at one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = Objects(root / "objects")
        self.realizations = Realizations(root / "realizations")
        self.stat_cache = StatCache(root / "cache" / "stat.json")
        self._trees: dict[str, Tree] = {}

    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> KeyLock:
        """Return the lock of ``key``, to be entered with ``with``."""
        return KeyLock(self.root / "locks" / key, waiting)

    def scratch(self, key: str) -> Path:
        """Return the folder in which the step of ``key`` works."""
        return self.root / "scratch" / key

    def tree(self, digest: str) -> Tree | None:
        """Return the manifest of a tree whose objects are all there, else None."""
        if digest not in self._trees:
            try:
                data = json.loads((self.root / "trees" / f"{digest}.json").read_text())
                tree = Tree.from_json(data)
            except (FileNotFoundError, ValueError):
                return None
            if tree.digest != digest or not all(self.objects.has(file) for file in tree.files.values()):
                return None
            self._trees[digest] = tree
        return self._trees[digest]

    def tree_of(self, key: str) -> str | None:
        """Return the tree digest that ``key`` gave, when it is whole."""
        realization = self.realizations.get(key)
        if realization is None or self.tree(realization.tree) is None:
            return None
        return realization.tree

    def put_tree(self, tree: Tree) -> str:
        """Record a manifest whose objects are in place; return its digest."""
        missing = [path for path, file in tree.files.items() if not self.objects.has(file)]
        if missing:
            raise BuildError(f"the store lacks {missing[0]} of tree {tree.digest[:8]}")
        text = json.dumps(tree.to_json(), indent=1, sort_keys=True)
        durable.write(self.root / "trees" / f"{tree.digest}.json", text.encode() + b"\n")
        return tree.digest

    def ingest(self, source: Path, tree: Tree, read: Callable[[int], None] = lambda _: None) -> str:
        """Copy a path source of known manifest in; the source is left as it is."""
        for path, file in tree.files.items():
            self.objects.copy_in(source / path if source.is_dir() else source, file, read)
        return self.put_tree(tree)

    def folder(self, digest: str, name: str) -> Path:
        """Return a read-only folder that shows a tree, made of hard links on first use."""
        tree = self.tree(digest)
        if tree is None:
            raise BuildError(f"tree {digest[:8]} ({name}) is not whole in the store {self.root}")
        target = self.root / "out" / f"{digest[:8]}-{name}"
        if not self._shows(target, tree):
            partial = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with durable.full_disk_is_clear(partial):
                for path, file in tree.files.items():
                    link(self.objects.path(file.sha256), partial / path)
            shutil.rmtree(target, ignore_errors=True)
            partial.replace(target)
        return target

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
        files = {path: self._file(out, path, taken, inputs) for path, taken in sorted(result.items())}
        return self.put_tree(Tree(files))

    def record(self, realization: Realization, line: str) -> None:
        """Record what a key gave. From here on the key is a hit."""
        self.realizations.put(realization)
        self.realizations.set_last(line, realization.name, realization.key)

    def need(self, size: int) -> None:
        """Refuse when less than ``size`` bytes and a tenth are free."""
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < size * 1.1:
            raise MachineError(
                f"{self.root} has {free / 1e9:.1f} GB free; this needs {size * 1.1 / 1e9:.1f} GB",
                hint="free some space, or set GRAFTSMITH_STORE to a larger disk",
            )

    def _file(self, out: Path, path: str, taken: Taken | None, inputs: Mapping[str, str]) -> File:
        if taken is None:
            return self.objects.adopt(out / path)
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

    def _shows(self, folder: Path, tree: Tree) -> bool:
        """Tell whether ``folder`` holds exactly ``tree``, by inode, without reading bytes."""
        try:
            found = {p.relative_to(folder).as_posix(): p.stat() for p in folder.rglob("*") if p.is_file()}
        except FileNotFoundError:
            return False
        if found.keys() != tree.files.keys():
            return False
        return all(
            found[path].st_ino == self.objects.path(file.sha256).stat().st_ino
            for path, file in tree.files.items()
        )
