"""Writes that survive a kill and a power cut: fsync, then rename."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from release.errors import MachineError


def write(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: readers see the old bytes or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with full_disk_is_clear(path):
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Flush the file's bytes to the disk."""
    _fsync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Flush the folder's entries to the disk, so that a rename in it lasts."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def full_disk_is_clear(path: Path) -> Iterator[None]:
    """Turn a full disk into an error that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MachineError(
            f"no space left on the disk that holds {path}",
            why="What was finished before stays in the store and stays usable.",
            hint="free some space and run the same command again",
        ) from error


def _fsync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
