"""States of a small release on disk: copied by links, with one step's result taken out."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from release.digest import Tree
from release.store import Store

FETCH = "fetch"
LEFT = frozenset({"locks", "scratch", "logs"})
"""What a copy leaves behind: locks are inodes, and two stores must not share them."""


def begin(source: Path, target: Path) -> None:
    """Make the folders of a release that has done nothing yet, with the sources of another."""
    (target / "store" / "cache").mkdir(parents=True)
    (target / "store" / "envs").symlink_to((source / "store" / "envs").resolve())
    (target / "made").symlink_to((source / "made").resolve())


def copy(source: Path, target: Path) -> None:
    """Copy the folders of a release; files are linked, because the store never writes into one.

    On another disk they are copied. Folders that are there (mounts) are filled.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / "made").symlink_to((source / "made").resolve())
    for name in ("store", "hub"):
        if (source / name).exists():
            shutil.copytree(
                source / name,
                target / name,
                symlinks=True,
                copy_function=_link,
                ignore=_left,
                dirs_exist_ok=True,
            )


def without(root: Path, part: str) -> None:
    """Take one part out of a finished release: a step's result or the sources, and the Hub."""
    if part == FETCH:
        without_sources(root)
    else:
        without_step(root, part)
    for repo in (root / "hub").glob("[!.]*"):
        shutil.rmtree(repo)


def without_step(root: Path, step: str) -> None:
    """Take the result of ``step`` out of the store: its key, its tree, its new files."""
    store = Store(root / "store")
    done = store.realizations.last("tiny", step)
    assert done is not None
    inputs = done.derivation["inputs"]
    assert isinstance(inputs, dict)
    kept = {file.sha256 for name in inputs.values() for file in _tree(store, str(name)).files.values()}
    (store.root / "realizations" / f"{done.key}.json").unlink()
    (store.root / "realizations" / "last" / "tiny" / step).unlink()
    _drop_tree(store, _tree(store, done.tree), kept)


def without_sources(root: Path) -> None:
    """Take the sources out of the store."""
    store = Store(root / "store")
    made = {json.loads(path.read_text())["tree"] for path in store.realizations.folder.glob("[!.]*.json")}
    digests = {path.stem for path in (store.root / "trees").glob("[!.]*.json")} - made
    for tree in [_tree(store, digest) for digest in digests]:
        _drop_tree(store, tree, set())


def rotten(root: Path) -> list[str]:
    """Return the objects of the store that are not what their name says."""
    return [
        path.name
        for path in (root / "store" / "objects").glob("*/*")
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name
    ]


def processes(root: Path) -> list[int]:
    """Return the processes that work below ``root``, by their command line or environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            zombie = b"\nState:\tZ" in (path / "status").read_bytes()
        except OSError:
            continue
        if os.fsencode(root) in text and not zombie and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def _tree(store: Store, digest: str) -> Tree:
    tree = store.tree(digest)
    assert tree is not None
    return tree


def _drop_tree(store: Store, tree: Tree, kept: set[str]) -> None:
    (store.root / "trees" / f"{tree.digest}.json").unlink()
    for folder in (store.root / "out").glob(f"{tree.digest[:8]}-*"):
        shutil.rmtree(folder)
    for file in tree.files.values():
        if file.sha256 not in kept:
            store.objects.path(file.sha256).unlink(missing_ok=True)


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _left(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name in LEFT and Path(folder).name == "store"]
