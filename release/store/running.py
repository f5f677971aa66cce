"""Who uses the store right now, so that collecting garbage and releasing can go on at once.

Two parts, both flocks, so that a kill undoes them:

- The *gate* ``locks/store``: shared by whoever writes (commit, ingest, link, record) or looks
  a result up to use it, exclusive for the collector while it decides and moves garbage out
  of the way. Nobody holds it while a step runs.
- *Pins* ``pins/*``: one file for each running release, locked by it, that names every
  result, source, environment and manifest it goes on to use. A pin is written behind the
  shared gate, so the collector either sees it or has finished before the release looks.

Order: the gate before a key's lock when the lock is only tried; the collector never waits
for a key's lock.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from release.store import durable
from release.store.locks import open_lock, try_lock


class Gate:
    """One flock: many writers, or one collector. Re-entrant for writers, one thread each.

    The file holds the collector's last run. ``collected`` is called when it is another than
    before: what this process remembers of the store may be gone.
    """

    def __init__(self, path: Path, collected: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._collected = collected
        self._run = self._read()
        self._depth = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the gate as a writer: no garbage is collected inside."""
        if self._depth:
            yield
            return
        fd = open_lock(self._path)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            if (run := self._read()) != self._run:
                self._run = run
                self._collected()
            self._depth = 1
            yield
        finally:
            self._depth = 0
            os.close(fd)

    @contextmanager
    def exclusive(self, waiting: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
        """Hold the gate as the collector: nothing is written inside.

        Yield what to call before the first thing is moved away.
        """
        fd = open_lock(self._path)
        try:
            if not try_lock(fd):
                waiting()
                fcntl.flock(fd, fcntl.LOCK_EX)
            yield lambda: _rewrite(fd, f"{time.time_ns()}-{os.getpid()}")
        finally:
            os.close(fd)

    def _read(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""


class Pins:
    """What running releases use. Written by each, read by the collector."""

    def __init__(self, folder: Path, gate: Gate) -> None:
        self._folder = folder
        self._gate = gate
        self._path = folder
        self._fd = -1
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep what ``add`` names until the end of this block or of this process."""
        if self._depth == 0:
            self._open()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._path.unlink(missing_ok=True)
                os.close(self._fd)
                self._fd = -1

    def add(self, *names: str) -> None:
        """Pin keys, trees, environments and manifests; nothing outside ``held``.

        Call it behind the shared gate that also covers the look-up.
        """
        if self._fd < 0:
            return
        left = "".join(f"{name}\n" for name in names).encode()
        with durable.full_disk_is_clear(self._path):
            while left:  # a disk that is almost full takes a part of it
                left = left[os.write(self._fd, left) :]

    def live(self) -> frozenset[str]:
        """Return what running releases pinned, behind the exclusive gate.

        Files of releases that were killed are removed.
        """
        found: set[str] = set()
        for path in sorted(self._folder.glob("*")):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # its release ended this moment
                continue
            try:
                if try_lock(fd):
                    path.unlink(missing_ok=True)
                else:
                    found.update(_read(fd).split())  # not by its name: its release may end this moment
            finally:
                os.close(fd)
        return frozenset(found)

    def _open(self) -> None:
        with self._gate.shared(), durable.full_disk_is_clear(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._fd, name = tempfile.mkstemp(dir=self._folder)
            self._path = Path(name)
            fcntl.flock(self._fd, fcntl.LOCK_EX)


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Hold the lock at ``path`` when nobody does; yield whether it is held now."""
    fd = open_lock(path)
    try:
        yield try_lock(fd)
    finally:
        os.close(fd)


def _rewrite(fd: int, text: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def _read(fd: int) -> str:
    with open(fd, closefd=False) as file:
        return file.read()
