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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._waiting()
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        self._fd = -1
