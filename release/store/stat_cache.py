"""Digests of files outside the store, kept by (size, mtime_ns, inode).

A no-op reads no weight bytes: a file whose three numbers stand as they were is the file
that was hashed. ``read`` counts the bytes that had to be read all the same.
"""

import json
from pathlib import Path

from release.digest import File, Tree, sha256_file
from release.errors import ConfigError
from release.store import durable


class StatCache:
    """sha256 by path, size, mtime_ns and inode."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[int | str]] = self._load()
        self._dirty = False
        self.read = 0

    def tree(self, path: Path) -> Tree:
        """Return the tree of a folder, or of one file under its own name.

        Raises ConfigError for what a tree cannot hold: links, sockets, odd names.
        """
        if path.is_file():
            return Tree({path.name: self._digest(path)})
        if not path.is_dir():
            raise ConfigError(f"{path}: no such file or folder")
        files: dict[str, File] = {}
        for item in sorted(path.rglob("*")):
            relative = item.relative_to(path).as_posix()
            if item.is_symlink() or not (item.is_dir() or item.is_file()):
                raise ConfigError(f"{item}: a source holds plain files and folders only")
            if item.is_file() and "__pycache__" not in item.parts:
                files[relative] = self._digest(item)
        try:
            return Tree(files)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error

    def save(self) -> None:
        """Write the cache when it has something new."""
        if self._dirty:
            durable.write(self._file, json.dumps(self._known).encode())
            self._dirty = False

    def _digest(self, path: Path) -> File:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path.resolve()))
        if known is not None and known[:3] == stamp:
            return File(str(known[3]), stat.st_size)
        sha256 = sha256_file(path)
        self.read += stat.st_size
        self._known[str(path.resolve())] = [*stamp, sha256]
        self._dirty = True
        return File(sha256, stat.st_size)

    def _load(self) -> dict[str, list[int | str]]:
        try:
            data = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}
