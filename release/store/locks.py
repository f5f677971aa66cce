"""Per-key locks, held by whoever still writes.

A lock is an flock on an open file description. The step's process inherits the
descriptor, so a key stays locked while an orphan could still write to its scratch
folder, and is free the moment the last holder is gone. There are no pid files.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from release.errors import MachineError
from release.store import durable


class KeyLock:
    """An exclusive lock on one key.

    Example::

        with KeyLock(folder / key, waiting=lambda: print("shared with another release")):
            ...
    """

    def __init__(self, path: Path, waiting: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._waiting = waiting
        self._fd = -1

    @property
    def fd(self) -> int:
        """The descriptor that a child inherits to hold the lock as well."""
        return self._fd

    def __enter__(self) -> Self:
        self._fd = open_lock(self.path)
        try:
            if not try_lock(self._fd):
                self._waiting()
                fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:  # stopped while it waited: nobody would close it
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1


def open_lock(path: Path) -> int:
    """Open the file of a lock. Raises MachineError where nothing can be written."""
    try:
        with durable.full_disk_is_clear(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MachineError(
            f"{path} cannot be written: {error.strerror}",
            hint="make its folder writable, or name another one (GRAFTSMITH_STORE or --hub)",
        ) from error


def try_lock(fd: int) -> bool:
    """Lock an open file unless another process holds it; tell whether it is locked now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
