"""Objects: files by their sha256, read-only, each stored once."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from release.digest import CHUNK, File, sha256_file
from release.errors import BuildError
from release.store.durable import full_disk_is_clear, sync_file, sync_folder

FICLONE = 0x40049409
READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Objects:
    """The folder of objects."""

    folder: Path

    def path(self, sha256: str) -> Path:
        """Return where the object of this digest lies."""
        return self.folder / sha256[:2] / sha256

    def has(self, file: File) -> bool:
        """Tell whether the object is there in its full size."""
        try:
            return self.path(file.sha256).stat().st_size == file.size
        except FileNotFoundError:
            return False

    def adopt(self, path: Path) -> File:
        """Hash a file that a step wrote, and rename it in. ``path`` is gone after."""
        file = File(sha256_file(path), path.stat().st_size)
        path.chmod(READ_ONLY)
        with full_disk_is_clear(path):
            sync_file(path)
        self._place(path, file)
        return file

    def copy_in(self, source: Path, expected: File, read: Callable[[int], None]) -> None:
        """Bring in a file of a path source: never renamed, changed or linked.

        A reflink where the file system has them, else a copy; the digest is taken from
        the bytes as they are written. ``read`` is told of bytes done. Raises BuildError
        when they are not the expected ones (the source changed under us).
        """
        if self.has(expected):
            read(expected.size)
            return
        partial = self.folder / f".{expected.sha256}.{os.getpid()}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with full_disk_is_clear(partial):
            found = _clone(source, partial) or _copy(source, partial, read)
            partial.chmod(READ_ONLY)
            sync_file(partial)
        if found != expected.sha256:
            partial.unlink()
            raise BuildError(
                f"{source} changed while it was read: expected sha256 {expected.sha256}, got {found}",
                hint="run the same command again once nothing writes to it",
            )
        self._place(partial, expected)

    def _place(self, path: Path, file: File) -> None:
        target = self.path(file.sha256)
        if self.has(file):
            path.unlink()
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        sync_folder(target.parent)


def _clone(source: Path, target: Path) -> str | None:
    """Reflink ``source`` and return the digest, or None where it is not supported."""
    with source.open("rb") as read, target.open("wb") as write:
        try:
            fcntl.ioctl(write.fileno(), FICLONE, read.fileno())
        except OSError:
            return None
    return sha256_file(target)


def _copy(source: Path, target: Path, read: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            read(len(chunk))
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def link(source: Path, target: Path) -> None:
    """Hard-link ``source``; a plain copy only where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
