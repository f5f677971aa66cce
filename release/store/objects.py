"""Objects: files by their sha256, read-only, each stored once."""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release.digest import CHUNK, File, hashed, sha256_file, sha256_files
from release.errors import BuildError
from release.store import durable
from release.store.trace import Kind, point

FICLONE = 0x40049409
READ_ONLY = 0o444
SPAN = 64 << 20
"""Bytes that the kernel copies between two words of progress."""

UNLINKABLE = frozenset({errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})
"""What a file system answers that has no links, or no more for this file."""

UNCOPYABLE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What the kernel answers when it cannot copy between two file systems by itself."""


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
        return self.adopt_all((path,))[0]

    def adopt_all(self, paths: Sequence[Path]) -> list[File]:
        """Hash files that a step wrote, and rename them in: ``paths`` are gone after.

        Each is hashed once, while the one before it is flushed to the disk.
        """
        files = []
        for path, sha256 in zip(paths, sha256_files(paths), strict=True):
            file = File(sha256, path.stat().st_size)
            self.adopt_hashed(path, file)
            files.append(file)
        return files

    def adopt_hashed(self, path: Path, file: File) -> None:
        """Rename in a file that was hashed as ``file`` while it was written. ``path`` is gone after."""
        path.chmod(READ_ONLY)
        with durable.full_disk_is_clear(path):
            durable.sync_file(path)
        drop_pages(path)
        self.place(path, file)

    def copy_in(
        self,
        source: Path,
        expected: File,
        read: Callable[[int], None],
        unchanged: Callable[[], bool] | None = None,
    ) -> None:
        """Bring in a file of a path source: never renamed, changed or linked.

        A reflink where the file system has them, else a copy. ``read`` is told of bytes
        done. ``unchanged`` tells whether the source still is the file that was hashed, by
        its stamp; without it the bytes are hashed as they are written. One caller at a
        time. Raises BuildError when they are not the expected ones (the source changed
        under us).
        """
        if self.has(expected):
            read(expected.size)
            return
        partial = self.folder / f".{expected.sha256}.part"
        try:
            with durable.full_disk_is_clear(partial):
                durable.make_folder(self.folder)
                if not _bring(source, partial, expected, read, unchanged):
                    raise _changed(source, expected)
                partial.chmod(READ_ONLY)
                durable.sync_file(partial)
        except BaseException as error:
            partial.unlink(missing_ok=True)  # on a full disk above all
            if isinstance(error, FileNotFoundError) and not source.exists():
                raise _changed(source, expected) from error
            raise
        drop_pages(partial)
        self.place(partial, expected)

    def place(self, path: Path, file: File) -> None:
        """Rename a flushed, read-only file in whose digest is known. ``path`` is gone after."""
        target = self.path(file.sha256)
        if self.has(file):
            durable.sync_folder(target.parent)  # whoever renamed it in may not have come so far
            durable.remove(path)
            return
        with durable.full_disk_is_clear(target):
            durable.make_folder(target.parent)
            durable.rename(path, target)


def link(source: Path, target: Path) -> None:
    """Hard-link ``source``; a copy of it, times and all, only where no link can be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with point(Kind.LINK, target):
        try:
            target.hardlink_to(source)
        except OSError as error:
            if error.errno not in UNLINKABLE:
                raise
            if not _clone(source, target):
                _copy(source, target, lambda _: None)
            shutil.copystat(source, target)


def shows(target: os.stat_result, source: os.stat_result) -> bool:
    """Tell, without reading, whether ``target`` is what ``link`` made of ``source``."""
    same_file = (target.st_dev, target.st_ino) == (source.st_dev, source.st_ino)
    same_copy = (target.st_size, target.st_mtime_ns) == (source.st_size, source.st_mtime_ns)
    return same_file or (same_copy and target.st_mode & 0o222 == 0)


def _changed(source: Path, expected: File) -> BuildError:
    return BuildError(
        f"{source} changed while it was read: it no longer has sha256 {expected.sha256}",
        hint="run the same command again once nothing writes to it",
    )


def _bring(
    source: Path,
    target: Path,
    expected: File,
    read: Callable[[int], None],
    unchanged: Callable[[], bool] | None,
) -> bool:
    if _clone(source, target):
        read(expected.size)
        return unchanged() if unchanged else sha256_file(target) == expected.sha256
    if unchanged:
        return _copy(source, target, read) == expected.size and unchanged()
    return _copy_hashed(source, target, read) == expected.sha256


def _clone(source: Path, target: Path) -> bool:
    """Reflink ``source``; False where the file system has none."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError:
            return False
    return True


def _copy(source: Path, target: Path, read: Callable[[int], None]) -> int:
    """Copy inside the kernel where it can; return the bytes copied."""
    done = 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while count := _copy_span(reader.fileno(), writer.fileno()):
            done += count
            read(count)
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return done


def _copy_span(reader: int, writer: int) -> int:
    try:
        return os.copy_file_range(reader, writer, SPAN)
    except OSError as error:
        if error.errno not in UNCOPYABLE:
            raise
    return os.sendfile(writer, reader, None, SPAN)


def _copy_hashed(source: Path, target: Path, read: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
            hashed.add(len(chunk))
            read(len(chunk))
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def drop_pages(path: Path) -> None:
    """Take a flushed file's pages from the cache: on unified memory they are the GPU's."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
