"""The supervisor of one step: isolates it, and lets nothing of it outlive the release.

Started as ``python -I sandbox.py SPEC``, with SPEC a JSON object:

    {"argv": [...], "env": {...}, "cwd": "...", "read": [...], "write": [...], "parent": 123}

The first line on its standard output says which isolation the host allowed. The step
runs in a process group of its own, in a network namespace with nothing but loopback and
behind a Landlock allow-list. When the host process dies, even by SIGKILL, the kernel
tells this supervisor, which ends the whole group.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from release.engines import landlock

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
MAX_FILES = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Run the step of SPEC and return its exit code (128 + n for signal n)."""
    spec = json.loads(sys.argv[1])
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != spec["parent"]:
        return 128 + signal.SIGTERM
    child = os.fork()
    if child == 0:
        _become_step(spec)

    def end(_signal: int, _frame: FrameType | None) -> None:
        _end(child)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    _, status = os.waitpid(child, 0)
    _end(child)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become_step(spec: dict[str, Any]) -> None:
    """Isolate this process and replace it by the step; never returns."""
    try:
        os.setpgid(0, 0)
        _limit()
        network = _cut_network()  # entering a user namespace clears the death signal: set it after
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        found = {"network": network, "filesystem": _cut_files(spec["read"], spec["write"])}
        _drop_capabilities()
        os.write(1, json.dumps({"isolation": found}).encode() + b"\n")
        os.chdir(spec["cwd"])
        os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 (no shell is the point)
    except BaseException as error:  # the child of a fork must not run its parent's code
        os.write(2, f"sandbox: {type(error).__name__}: {error}\n".encode())
    os._exit(127)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _drop_capabilities() -> None:
    """Take from root what makes it root: a step started by root is a plain user of its files.

    Without this, CAP_PERFMON reads /proc/<host>/environ, where the tokens are.
    """
    for capability in range(64):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def _cut_network() -> str:
    """Enter a network namespace with only loopback, as root or through a user namespace."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if _libc.unshare(flags) != 0:
        return "none: " + os.strerror(ctypes.get_errno())
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    return "loopback only"


def _cut_files(read: list[str], write: list[str]) -> str:
    version = landlock.restrict(read, write)
    return f"landlock {version}" if version else "none: the kernel has no Landlock"


def _end(group: int) -> None:
    """Kill the step's process group and whatever of it moved elsewhere."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        for pid in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main())
