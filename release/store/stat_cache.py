"""Digests of files outside the store, kept by (size, mtime_ns, inode).

A no-op reads no weight bytes: a file whose three numbers stand as they were is the file
that was hashed. ``read`` counts the bytes that had to be read all the same.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from release.digest import File, Tree, sha256_files
from release.errors import ConfigError, MachineError
from release.store import durable
from release.store.locks import KeyLock

TICK_NS = 50_000_000
"""A write this soon after another may leave the same mtime: kernels stamp by a coarse clock."""

Stamp: TypeAlias = list[int]


class StatCache:
    """sha256 by path, size, mtime_ns and inode."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[int | str]] = self._load()
        self._new: dict[str, list[int | str]] = {}
        self.read = 0
        self.progress: Callable[[int], None] = lambda _: None

    def tree(self, path: Path) -> Tree:
        """Return the tree of a folder, or of one file under its own name.

        Raises ConfigError for what a tree cannot hold (links, sockets, odd names) and for
        what cannot be read.
        """
        try:
            return self._tree(path.resolve())
        except (PermissionError, FileNotFoundError) as error:
            raise ConfigError(
                f"{error.filename}: {error.strerror}",
                why="Every byte of a source is part of what a release is made of.",
                hint="make it readable, and run the same command again once nothing writes to the folder",
            ) from error

    def _tree(self, path: Path) -> Tree:
        if path.is_file():
            return Tree({path.name: self._digests([path])[0]})
        if not path.is_dir():
            raise ConfigError(f"{path}: no such file or folder")
        items = sorted(_walk(path, ""))
        digests = self._digests([path / relative for relative in items])
        try:
            return Tree(dict(zip(items, digests, strict=True)))
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error

    def file(self, path: Path) -> File:
        """Return digest and size of one file."""
        return self._digests([path])[0]

    def holds(self, path: Path, file: File) -> bool:
        """Tell, without reading, whether ``path`` still is what was hashed as ``file``."""
        known = self._known.get(str(path))
        try:
            return known is not None and known == [*_stamp(path), file.sha256] and known[0] == file.size
        except OSError:
            return False

    def save(self) -> None:
        """Write the cache when it has something new. One that cannot be written is only slower."""
        if not self._new:
            return
        with suppress(OSError, MachineError), KeyLock(self._file.with_suffix(".lock")):
            # Another release may have hashed 50 GB meanwhile: keep what it found, and drop what is gone.
            known = {**self._load(), **self._new}
            self._known = {path: entry for path, entry in known.items() if Path(path).exists()}
            durable.write(self._file, json.dumps(self._known, separators=(",", ":")).encode())
            self._new = {}

    def _digests(self, paths: list[Path]) -> list[File]:
        found: dict[Path, File] = {}
        fresh: dict[Path, Stamp] = {}
        for path in paths:
            stamp = _stamp(path)
            known = self._known.get(str(path))
            if known is not None and known[:3] == stamp:
                found[path] = File(str(known[3]), stamp[0])
            else:
                fresh[path] = _settled(path, stamp)
        for (path, stamp), sha256 in zip(fresh.items(), sha256_files(list(fresh)), strict=True):
            self.read += stamp[0]
            self.progress(stamp[0])
            found[path] = File(sha256, stamp[0])
            if _stamp(path) == stamp:
                self._known[str(path)] = self._new[str(path)] = [*stamp, sha256]
        return [found[path] for path in paths]

    def _load(self) -> dict[str, list[int | str]]:
        try:
            data = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the files below ``folder`` by relative path. Raises ConfigError for a link."""
    with os.scandir(folder) as entries:
        for entry in entries:
            relative = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _walk(folder / entry.name, f"{relative}/")
            elif entry.is_file(follow_symlinks=False):
                yield relative
            else:
                raise ConfigError(f"{folder / entry.name}: a source holds plain files and folders only")


def _stamp(path: Path) -> Stamp:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _settled(path: Path, stamp: Stamp) -> Stamp:
    """Wait out the tick of a file written this instant: its next write must show in its mtime."""
    age = time.time_ns() - stamp[1]
    if 0 <= age < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)
        return _stamp(path)
    return stamp
