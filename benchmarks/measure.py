"""Run a program and note what it took: seconds, memory, what it said."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run. ``anonymous`` is the peak of RssAnon over the whole process tree, in bytes, sampled.

    ``lines`` are the lines of its standard output with the second at which each came.
    """

    code: int
    seconds: float
    anonymous: int
    lines: tuple[tuple[float, str], ...]
    log: str


def run(
    argv: Sequence[object],
    env: Mapping[str, str],
    log: Path,
    started: Callable[[int], None] = lambda _: None,
    said: Callable[[str], None] = lambda _: None,
) -> Ran:
    """Run ``argv`` to its end; ``started`` gets its pid, ``said`` each line as it comes."""
    began = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [str(part) for part in argv], env=dict(env), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        peak = _Peak(process.pid)
        assert process.stdout is not None
        started(process.pid)
        lines = []
        for line in process.stdout:
            lines.append((time.monotonic() - began, line.strip()))
            said(line)
        code = process.wait()
        seconds = time.monotonic() - began
    return Ran(
        code=code,
        seconds=seconds,
        anonymous=peak.stop(),
        lines=tuple(lines),
        log=log.read_text(errors="replace"),
    )


def evict(folder: Path) -> None:
    """Drop the files of ``folder`` from the page cache, so that the next read is the disk's."""
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def warm(folder: Path) -> None:
    """Read the files of ``folder`` into the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(8 << 20):
                    pass


class _Peak:
    """Samples the anonymous memory of a process and its children."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self._peak = max(self._peak, sum(map(_anonymous, _tree(self._pid))))


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kilobytes = (line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:"))
    return 1024 * int(next(kilobytes, "0"))
