"""GPU memory by NVML: of all processes together, and of the device where it is its own.

On a GB10 the device's memory is the machine's, and NVML answers NOT_SUPPORTED for its size.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import pynvml


class Memory(Protocol):
    """What NVML tells of a device's memory, in bytes."""

    total: int


class Process(Protocol):
    """What NVML tells of a process that computes. The driver may not say how much it uses."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815 - NVML's own name


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs of this machine; none where there is no driver."""

    handles: tuple[object, ...] = ()

    def total(self) -> int | None:
        """Return the bytes of the devices' own memory, None where it is the machine's or absent."""
        try:
            found: list[Memory] = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in self.handles]
        except pynvml.NVMLError:
            return None
        return sum(memory.total for memory in found) or None

    def used(self, pids: Iterable[int]) -> int | None:
        """Return the bytes that the processes ``pids`` use, None where there is no GPU.

        A driver that names processes of another namespace by other numbers is asked for all.
        """
        if not self.handles:
            return None
        wanted, by_pid = set(pids), self._processes()
        mine = [size for pid, size in by_pid.items() if pid in wanted]
        return sum(mine or by_pid.values())

    def _processes(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for handle in self.handles:
            with suppress(pynvml.NVMLError):
                processes: list[Process] = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
                for process in processes:
                    found[process.pid] = found.get(process.pid, 0) + (process.usedGpuMemory or 0)
        return found


def open_gpus() -> Gpus:
    """Return the GPUs that the driver tells of."""
    try:
        pynvml.nvmlInit()
        count: int = pynvml.nvmlDeviceGetCount()
        return Gpus(tuple(pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(count)))
    except pynvml.NVMLError:
        return Gpus()
