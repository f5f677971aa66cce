"""Facts and wants in, findings out. Pure.

What a GB10 needs (compute capability, driver, memory policy) has its source in NVIDIA's
CUDA 13.0 release notes and in the design notes of this project.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from release.doctor.finding import Finding, bad, good, unknown, weak
from release.doctor.machine import Docker, Machine
from release.imaging.recipe import BUILDKIT, OWN_BUILDER
from release.report.terminal import size

GB10_CAPABILITY = "12.1"
CUDA_13_DRIVER = 580
"""The first driver branch that runs CUDA 13.0."""

RESERVE_BYTES = 16 << 30
"""Memory that stays free on a machine whose GPU shares it with the system."""

SPARE = 1.1
"""A release is refused below its need and a tenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a release line asks of a machine. ``writes`` are bytes that its next release adds to the disk."""

    recipe: str
    gpu: bool
    containers: bool
    writes: int
    isolation_required: bool


def findings(there: Machine, wants: Wants) -> tuple[Finding, ...]:
    """Return a finding for every subject, those that everything rests on first."""
    return (
        _python(there),
        _uv(there),
        _disk(there, wants),
        _links(there),
        *_libraries(there),
        *_isolation(there, wants),
        _memory(there, wants),
        _swap(there, wants),
        _gpu(there, wants),
        *_docker(there.docker, wants),
        _clock(there),
    )


def _python(there: Machine) -> Finding:
    return good("python", ".".join(map(str, there.python)))


def _uv(there: Machine) -> Finding:
    if there.uv is None:
        return bad("uv", "not beside this Python", "python3 -m venv .venv && .venv/bin/pip install uv")
    return good("uv", there.uv)


def _disk(there: Machine, wants: Wants) -> Finding:
    found = f"{size(there.free)} free; {wants.recipe} adds about {size(wants.writes)}"
    if there.free < wants.writes * SPARE:
        hint = "invoke store.gc --dry-run; or set GRAFTSMITH_STORE to a larger disk"
        return bad("disk", found, hint)
    return good("disk", found)


def _links(there: Machine) -> Finding:
    if there.links:
        return good("hard links", "a tree of any size is shown without a copy")
    hint = "set GRAFTSMITH_STORE to a disk with ext4, xfs or btrfs"
    return weak("hard links", "none: each tree is a copy", hint)


def _libraries(there: Machine) -> Iterator[Finding]:
    if there.lacks:
        packages = " ".join(one.package for one in there.lacks)
        files = ", ".join(one.file for one in there.lacks)
        yield bad("libraries", f"no {files}", f"sudo apt-get install {packages}")


def _isolation(there: Machine, wants: Wants) -> Iterator[Finding]:
    for kind, how in sorted(there.isolation.items()):
        name = f"isolation: {kind}"
        if not how.startswith("none"):
            yield good(name, how)
        elif wants.isolation_required:
            yield bad(name, how, "allow unprivileged user namespaces and Landlock on this host")
        else:
            yield weak(name, how, "steps run without it, and each release says so")


def _memory(there: Machine, wants: Wants) -> Finding:
    found = f"{there.memory / 2**30:.1f} GiB"
    if wants.gpu and there.memory <= 2 * RESERVE_BYTES:
        return weak("memory", found, f"a GPU that shares it leaves {RESERVE_BYTES >> 30} GiB to the system")
    return good("memory", found)


def _swap(there: Machine, wants: Wants) -> Finding:
    found = f"{there.swap / 2**30:.1f} GiB"
    if wants.gpu and there.swap:
        hint = "sudo swapoff -a while serving: swapped weights stall the GPU, and the guard stops the server"
        return weak("swap", found, hint)
    return good("swap", found)


def _gpu(there: Machine, wants: Wants) -> Finding:
    if not there.gpu:
        missing = "none, or nvidia-smi does not answer"
        return (
            bad("GPU", missing, "install the driver, or take a recipe of variant cpu")
            if wants.gpu
            else good("GPU", "none, and none is needed")
        )
    name, driver, capability = (there.gpu.get(key, "?") for key in ("gpu", "driver", "capability"))
    found = f"{name}, compute capability {capability}, driver {driver}"
    if not wants.gpu:
        return good("GPU", f"{found}; not needed")
    branch = driver.partition(".")[0]
    if not branch.isdigit() or int(branch) < CUDA_13_DRIVER:
        return bad("GPU", found, f"CUDA 13.0 needs driver {CUDA_13_DRIVER} or newer")
    if capability != GB10_CAPABILITY:
        return weak("GPU", found, f"the images hold kernels for {GB10_CAPABILITY}: figures are not a GB10's")
    return good("GPU", found)


def _docker(there: Docker | None, wants: Wants) -> Iterator[Finding]:
    if there is None:
        yield (
            bad("docker", "no engine answers", "start it, and add your user to the group docker")
            if wants.containers
            else good("docker", "no engine, and none is needed")
        )
        return
    yield good("docker", f"engine {there.version}")
    wanted = wants.containers and wants.gpu
    if wanted and "nvidia" not in there.runtimes:
        hint = "install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker"
        yield bad("docker: GPU", f"runtimes: {', '.join(there.runtimes) or 'none'}", hint)
    if there.buildx is None:
        hint = "install docker-buildx-plugin: images are built with it"
        yield (bad if wants.containers else weak)("docker: buildx", "not found", hint)
    else:
        yield good("docker: buildx", there.buildx)
    yield from _building(there)


def _building(there: Docker) -> Iterator[Finding]:
    """Say where images are kept, and by which builder they would be built."""
    if there.snapshots:
        yield good("docker: image store", "containerd's")
        yield good("docker: builder", "the engine's own BuildKit")
        return
    store = "the classic one, whose BuildKit ignores rewrite-timestamp"
    yield weak("docker: image store", store, "nothing to do: it is not ours to change")
    pinned = BUILDKIT.partition("@")[0]
    if there.builder:
        yield good("docker: builder", f"{OWN_BUILDER}, a container of {pinned}")
    else:
        hint = "the first invoke build-image makes it"
        yield weak("docker: builder", f"{OWN_BUILDER}, a container of {pinned}: not made yet", hint)


def _clock(there: Machine) -> Finding:
    if there.clock is None:
        return unknown("clock", "the kernel does not tell")
    if there.clock:
        return good("clock", "synchronized")
    hint = "sudo timedatectl set-ntp true: signatures and tokens depend on the time"
    return weak("clock", "not synchronized, as the kernel sees it", hint)
