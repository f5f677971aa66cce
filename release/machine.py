"""The facts of this machine that figures depend on."""

import functools
import json
import os
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from release.errors import MachineError

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
DRIVER = Path("/proc/driver/nvidia")
GPU = ("gpu", "driver", "capability")
"""The facts that nvidia-smi gives, in the order of QUERY."""


def facts(engine: str, cache: Path) -> Mapping[str, str]:
    """Return processor, cores, memory, GPU, driver and engine: the key of a measurement.

    nvidia-smi takes up to seconds, so what it says is kept in the folder ``cache`` for as
    long as the machine has the same mark.
    """
    return {"engine": engine, "cpu": _cpu(), "cores": str(os.cpu_count()), "memory": _memory(), **_gpu(cache)}


@functools.cache
def mark() -> str:
    """Return what differs whenever the facts may: the boot, processors, memory, GPUs, driver."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    parts = [boot, str(os.cpu_count()), _memory()]
    with suppress(OSError):
        parts += [(DRIVER / "version").read_text(), *sorted(os.listdir(DRIVER / "gpus"))]  # noqa: PTH208
    return "\n".join(parts)


@functools.cache
def _cpu() -> str:
    with Path("/proc/cpuinfo").open() as lines:
        for line in lines:
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory() -> str:
    """Return the memory in GiB, rounded: the kernel's own share varies a little."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{round(size / 2**30)} GiB"


@functools.cache
def _gpu(cache: Path) -> Mapping[str, str]:
    if shutil.which(QUERY[0]) is None:
        return {}
    kept = cache / "gpu.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(kept.read_text())
        if data["mark"] == mark():
            return {str(name): str(fact) for name, fact in data["facts"].items()}
    asked = _ask_gpu()
    if asked:
        from release.store import durable

        with suppress(OSError, MachineError):  # a cache that cannot be written is only slower
            durable.write(kept, json.dumps({"mark": mark(), "facts": asked}).encode())
    return asked


def _ask_gpu() -> Mapping[str, str]:
    import subprocess

    done = subprocess.run(QUERY, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        return {}
    return dict(zip(GPU, (part.strip() for part in done.stdout.splitlines()[0].split(",")), strict=True))
