"""The facts of this machine that figures depend on."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")


def facts(engine: str) -> Mapping[str, str]:
    """Return processor, cores, memory, GPU, driver and engine: the key of a measurement."""
    return {"engine": engine, "cpu": _cpu(), "cores": str(os.cpu_count()), "memory": _memory(), **_gpu()}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.lower().startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory() -> str:
    """Return the memory in GiB, rounded: the kernel's own share varies a little."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{round(size / 2**30)} GiB"


def _gpu() -> Mapping[str, str]:
    if shutil.which(QUERY[0]) is None:
        return {}
    done = subprocess.run(QUERY, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        return {}
    name, driver, capability = (part.strip() for part in done.stdout.splitlines()[0].split(","))
    return {"gpu": name, "driver": driver, "capability": capability}
