"""What there is on this machine, asked once: the one module of the doctor that touches it.

Nothing is changed; a probe that fails is a fact like the others.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from release import machine
from release.engines import libraries
from release.engines.libraries import Library
from release.engines.local import SANDBOX
from release.errors import MachineError
from release.images import Image
from release.imaging.recipe import OWN_BUILDER

TIMEOUT_S = 20
TIME_ERROR = 5
"""What adjtimex(2) answers while the clock is not synchronized."""

UNIX = "unix://"
DOCKER_HOST = f"{UNIX}/var/run/docker.sock"

TIMEX_BYTES = 208
"""The size of struct timex on 64-bit Linux."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """A Docker engine. ``snapshots`` says whether it keeps images in containerd's store.

    ``builder`` says whether our own pinned builder was made already.
    """

    version: str
    snapshots: bool
    runtimes: tuple[str, ...]
    buildx: str | None
    builder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts. Sizes are in bytes; None stands for what is not there.

    ``gpu`` has name, driver and capability, such as "12.1". ``isolation`` is what a sandboxed
    process reports: kind → how, or "none: why". ``links`` says whether the store's disk has
    hard links, ``lacks`` what no wheel brings and this machine does not have.
    ``clock`` is None where the kernel does not tell.
    """

    python: tuple[int, int]
    uv: str | None
    store: Path
    free: int
    links: bool
    lacks: tuple[Library, ...]
    memory: int
    swap: int
    gpu: Mapping[str, str]
    isolation: Mapping[str, str]
    docker: Docker | None
    clock: bool | None


def look(store: Path, images: Iterable[Image] = ()) -> Machine:
    """Ask this machine. ``store`` is where results are kept; it may not be there yet.

    ``images`` are those whose environments are to run here.
    """
    place = next(folder for folder in (store, *store.parents) if folder.is_dir())
    return Machine(
        python=sys.version_info[:2],
        uv=_uv(),
        store=store,
        free=shutil.disk_usage(place).free,
        links=_links(place),
        lacks=libraries.missing(images),
        memory=_meminfo("MemTotal"),
        swap=_meminfo("SwapTotal"),
        gpu={k: v for k, v in machine.facts("", store / "cache").items() if k in machine.GPU},
        isolation=_isolation(),
        docker=_docker(),
        clock=_clock(),
    )


def _uv() -> str | None:
    program = Path(sys.executable).with_name("uv")
    said = _run([str(program), "--version"]) if program.is_file() else None
    return said.split()[1] if said else None


def _links(place: Path) -> bool:
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-") as folder:
            one = Path(folder) / "one"
            one.touch()
            (Path(folder) / "two").hardlink_to(one)
    except OSError:
        return False
    return True


def _meminfo(key: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def _isolation() -> Mapping[str, str]:
    """Run a program that does nothing in the sandbox of steps, and return what it reports."""
    spec = {
        "argv": ["/bin/true"],
        "env": {},
        "cwd": "/",
        "read": ["/usr", "/lib", "/lib64", "/bin"],
        "write": [],
        "parent": os.getpid(),
    }
    said = _run([sys.executable, "-I", str(SANDBOX), json.dumps(spec)])
    try:
        found: dict[str, str] = json.loads((said or "").splitlines()[0])["isolation"]
    except (IndexError, ValueError, KeyError):
        return {"sandbox": "none: it does not start here"}
    return found


def _docker() -> Docker | None:
    host = os.environ.get("DOCKER_HOST", DOCKER_HOST)
    if host.startswith(UNIX) and not Path(host.removeprefix(UNIX)).is_socket():
        return None  # asked in vain, the client leaks a socket
    from release.engines import daemon  # the SDK takes 0.4 s to import

    try:
        found = daemon.connect()
    except MachineError:
        return None
    buildx = _run(["docker", "buildx", "version"])
    with contextlib.closing(found.client):
        return Docker(
            version=found.version,
            snapshots=found.containerd_store,
            runtimes=tuple(sorted(found.client.info().get("Runtimes") or ())),
            buildx=buildx.split()[1] if buildx else None,
            builder=_run(["docker", "buildx", "inspect", OWN_BUILDER]) is not None,
        )


def _clock() -> bool | None:
    """Tell whether the kernel holds the clock to be synchronized."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    return None if state < 0 else state != TIME_ERROR


def _run(argv: list[str]) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None
