"""The locked-down container of one step, as data.

    /step/in/<name>, code, params.json     read-only
    /step/out, /step/state, /tmp           the step's own, on the store's disk
    /cache                                 what programs compile for themselves, by image and GPU

No network but loopback, a read-only root, no capability and no way to gain one, limits
from ``image.toml``, and the user who owns the store. /tmp and /cache are folders of the
host and no tmpfs: Docker mounts a tmpfs without exec, and on a machine with unified
memory it would take the GPU's.
"""

import os
import pwd
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from docker import APIClient
from docker.types import DeviceRequest, HostConfig, LogConfig, Mount, Ulimit

from release.container import Limits

ROOT = PurePosixPath("/step")
PYTHON = "/opt/env/bin/python"
CACHE = "/cache"
CACHES = (
    "XDG_CACHE_HOME",
    "CUDA_CACHE_PATH",
    "FLASHINFER_WORKSPACE_BASE",
    "HF_HOME",
    "HF_MODULES_CACHE",
    "NUMBA_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "VLLM_CACHE_ROOT",
    "VLLM_CONFIG_ROOT",
)
"""Variables by which libraries find the folder of what they compile or remember."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the parts of a step's folder lie on the host."""

    inputs: Mapping[str, Path]
    code: Path
    params: Path
    watch: Path
    passwd: Path
    group: Path
    out: Path
    state: Path
    temporary: Path
    cache: Path

    def mounts(self) -> list[Mount]:
        """Return the mounts of the container."""
        readable = {
            **{ROOT / "in" / name: path for name, path in self.inputs.items()},
            ROOT / "code": self.code,
            ROOT / "params.json": self.params,
            ROOT / "watch.py": self.watch,
            PurePosixPath("/etc/passwd"): self.passwd,
            PurePosixPath("/etc/group"): self.group,
        }
        writable = {
            ROOT / "out": self.out,
            ROOT / "state": self.state,
            PurePosixPath("/tmp"): self.temporary,  # noqa: S108 (the container's own)
            PurePosixPath(CACHE): self.cache,
        }
        return [
            Mount(str(target), str(source.resolve()), type="bind", read_only=target in readable)
            for target, source in {**readable, **writable}.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user who owns the store."""

    uid: int
    gid: int
    name: str

    @property
    def passwd(self) -> str:
        """An /etc/passwd with this user: torch dies of a uid that nobody has."""
        root = "" if self.uid == 0 else "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        return f"{root}{self.name}:x:{self.uid}:{self.gid}::{CACHE}/home:/usr/sbin/nologin\n"

    @property
    def group(self) -> str:
        """An /etc/group with this user's group."""
        return f"{self.name}:x:{self.gid}:\n"


def owner(path: Path) -> User:
    """Return who owns ``path``."""
    found = path.stat()
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = "graftsmith"
    return User(uid=found.st_uid, gid=found.st_gid, name=name)


def environment(user: User, image: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a step: the image's own, and nothing of the caller's."""
    return {
        **{name: f"{CACHE}/{name.lower()}" for name in CACHES},
        "XDG_CACHE_HOME": CACHE,
        "HOME": f"{CACHE}/home",
        "USER": user.name,
        "LOGNAME": user.name,
        "TMPDIR": "/tmp",  # noqa: S108 (short: a socket's path allows 107 characters)
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **image,
    }


def command() -> list[str]:
    """Return what the container runs: the step, under a watch that ends with the release."""
    step = [PYTHON, "-I", str(ROOT / "code"), "--root", str(ROOT)]
    return [PYTHON, "-I", str(ROOT / "watch.py"), *step]


def host_config(api: APIClient, folders: Folders, limits: Limits, *, gpu: bool) -> HostConfig:
    """Return how the engine holds the container."""
    files = _open_files(limits.nofile)
    return api.create_host_config(
        mounts=folders.mounts(),
        network_mode="none",
        ipc_mode="private",
        read_only=True,
        init=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=limits.memory,
        memswap_limit=limits.memory,
        shm_size=limits.shm,
        pids_limit=limits.pids,
        ulimits=[
            Ulimit(name="nofile", soft=files, hard=files),
            Ulimit(name="core", soft=0, hard=0),
        ],
        log_config=LogConfig(type=LogConfig.types.NONE),
        device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpu else None,
    )


def _open_files(wanted: int) -> int:
    """Return how many files may be open: an engine without CAP_SYS_RESOURCE cannot raise the host's limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def isolation(seen: Mapping[str, object], *, seccomp: bool) -> dict[str, str]:
    """Return what the engine says that it holds the container by, from its own answer."""
    host = seen["HostConfig"]
    assert isinstance(host, dict)
    dropped = host.get("CapDrop") == ["ALL"] and not host.get("CapAdd") and not host.get("Privileged")
    gaining = "no-new-privileges" in (host.get("SecurityOpt") or ())
    return {
        "filesystem": "read-only root" if host.get("ReadonlyRootfs") else "none: the root is writable",
        "network": "loopback only" if host.get("NetworkMode") == "none" else "none: it has a network",
        "processes": "own processes" if not host.get("PidMode") else "none: it sees the host's processes",
        "privileges": "no capabilities" if dropped and gaining else "none: it may gain capabilities",
        "system calls": "seccomp" if seccomp else "none: the engine has no seccomp",
    }


def make(folders: Folders, user: User) -> None:
    """Make the folders that the container writes to, for ``user``, and its /etc files."""
    for folder in (folders.out, folders.state, folders.temporary, folders.cache, folders.cache / "home"):
        folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, user.uid, user.gid)
    folders.passwd.write_text(user.passwd)
    folders.group.write_text(user.group)
