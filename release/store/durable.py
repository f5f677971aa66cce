"""Writes that survive a kill and a power cut: fsync, then rename. Each passes the trace."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from release.errors import MachineError
from release.store.trace import Kind, point


def write(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: readers see the old bytes or the new, never a part."""
    nonce = int.from_bytes(os.urandom(4))  # two containers that share a store may share a pid
    partial = path.with_name(f".{path.name}.{nonce}")
    with full_disk_is_clear(path):
        make_folder(path.parent)
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                with point(Kind.FSYNC, partial):
                    os.fsync(file.fileno())
            rename(partial, path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


def rename(source: Path, target: Path) -> None:
    """Move ``source`` to ``target`` at once, replacing what stands there, so that it lasts."""
    with point(Kind.RENAME, target):
        source.replace(target)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a file, or a folder and what is in it; what is not there is no error."""
    if not os.path.lexists(path):
        return
    with point(Kind.REMOVE, path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and its parents so that they last: a file in a lost folder is lost."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
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
        raise full_disk(path) from error


def full_disk(path: Path) -> MachineError:
    """Return the error of a disk on which ``path`` found no room."""
    return MachineError(
        f"no space left on the disk that holds {path}",
        why="What was finished before stays in the store and stays usable.",
        hint="free some space and run the same command again",
    )


def _fsync(path: Path, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        with point(Kind.FSYNC, path):
            os.fsync(fd)
    finally:
        os.close(fd)
