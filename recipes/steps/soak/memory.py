"""What the server's processes and the machine use, in bytes."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def resident() -> int:
    """Return the resident memory of every process below this one, shared pages counted in each."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(_pages(pid) for pid in _below(os.getpid())) * page


def used() -> int:
    """Return what the machine cannot give any more: all its memory less what is available."""
    lines = (line.split() for line in (PROC / "meminfo").read_text().splitlines())
    table = {name: int(value) * 1024 for name, value, *_ in lines}
    return table["MemTotal:"] - table["MemAvailable:"]


def _below(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in sorted((PROC / str(pid) / "task").iterdir()):
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _below(int(child))


def _pages(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int((PROC / str(pid) / "statm").read_text().split()[1])
    return 0
