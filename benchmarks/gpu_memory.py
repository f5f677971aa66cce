"""What the machine at hand says of itself: memory, and the most GPU memory in use."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from benchmarks.gpu_bench import Figures


class GpuMemory:
    """The most GPU memory in use while it is open, as the driver counts it, over all processes."""

    def __init__(self, gpu: bool) -> None:
        self._gpu, self._peak = gpu, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._gpu:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def figures(self) -> Figures:
        """Return the peak, nothing without a GPU."""
        return {"gpu_memory_gib": self._peak / 1024} if self._gpu else {}

    def _sample(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self._ended.wait(0.5):
            megabytes = answer(query)
            self._peak = max(self._peak, int(megabytes) if megabytes.isdigit() else 0)


def answer(argv: Sequence[str]) -> str:
    """Return what a program says, nothing when it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def meminfo(name: str) -> int:
    """Return a line of /proc/meminfo in bytes."""
    lines: Iterator[str] = iter(Path("/proc/meminfo").read_text().splitlines())
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def available() -> int:
    """Return the bytes of memory that can be had."""
    return meminfo("MemAvailable")
