"""One look at the machine's memory, and at what one process and its children take of it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from release.guard.nvml import Gpus

PROC = Path("/proc")
PAGE = 4096


class Phase(StrEnum):
    """Where a run is: a server that loads may go lower than one that serves."""

    STARTING = "starting"
    SERVING = "serving"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Bytes, but for ``at`` (seconds since the guard began) and ``pressure`` (percent, or None)."""

    at: float
    phase: Phase
    available: int
    free: int
    cached: int
    swap_used: int
    pressure: float | None
    rss: int
    gpu: int | None


def read(at: float, phase: Phase, root: int | None, gpus: Gpus) -> Reading:
    """Look once. ``root`` is the process whose tree is counted."""
    memory = meminfo()
    pids = tuple(_tree(root)) if root is not None else ()
    return Reading(
        at=round(at, 3),
        phase=phase,
        available=memory["MemAvailable"],
        free=memory["MemFree"],
        cached=memory["Cached"],
        swap_used=memory["SwapTotal"] - memory["SwapFree"],
        pressure=_pressure(),
        rss=sum(_rss(pid) for pid in pids),
        gpu=gpus.used(pids),
    )


def meminfo() -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    lines = (line.split() for line in (PROC / "meminfo").read_text().splitlines())
    return {name.rstrip(":"): int(value) * (1024 if unit else 1) for name, value, *unit in lines}


def pool(gpus: Gpus) -> int:
    """Return the bytes that a server's memory comes from: the GPU's own, or the machine's."""
    return gpus.total() or meminfo()["MemTotal"]


def _pressure() -> float | None:
    """Return the share of the last ten seconds that every task waited, None without PSI."""
    with suppress(OSError, StopIteration, ValueError):
        lines = (PROC / "pressure" / "memory").read_text().splitlines()
        full = next(line for line in lines if line.startswith("full"))
        return float(full.split()[1].removeprefix("avg10="))
    return None


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in sorted((PROC / str(pid) / "task").iterdir()):
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _rss(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    return 0
