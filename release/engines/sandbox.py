"""The supervisor of one step: isolates it, and lets nothing of it outlive the release.

Started as ``python -I sandbox.py SPEC``, with SPEC a JSON object:

    {"argv": [...], "env": {...}, "cwd": "...", "read": [...], "write": [...], "parent": 123}

The first line on its standard output says which isolation the host allowed. The step
runs in a process group of its own, in a network namespace with nothing but loopback,
behind a Landlock allow-list, and in a process namespace::

    release ─ supervisor ─┤ init ─ step ─ whatever it starts

When the release dies, even by SIGKILL, the kernel tells the supervisor, which ends the
group. When the supervisor dies, the kernel ends ``init``, and with it the namespace:
there is no way out for a daemon. Where the host allows no process namespace the step is
the supervisor's child, and ``processes`` says so.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from release.engines import landlock

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
MAX_FILES = 65536
SHARED_MEMORY = "/dev/shm"  # noqa: S108 (a mount of the step's own)

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Run the step of SPEC and return its exit code (128 + n for signal n)."""
    spec = json.loads(sys.argv[1])
    refusal = _refusal_of_processes()
    if not refusal:
        _unshare(CLONE_NEWPID)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # a user namespace clears it: set it after
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != spec["parent"]:
        return 128 + signal.SIGTERM
    found = {"processes": f"none: {refusal}" if refusal else "own processes"}
    child = _fork(lambda: _become_step(spec, found) if refusal else _become_init(spec, found))

    def end(_signal: int, _frame: FrameType | None) -> None:
        _end(child)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    _, status = os.waitpid(child, 0)
    _end(child)
    return _code(status)


def _refusal_of_processes() -> str:
    """Return why the host allows no process namespace with a /proc of its own; "" when it does."""

    def attempt() -> int:
        try:
            _unshare(CLONE_NEWPID)
            return _code(os.waitpid(_fork(lambda: _exit_with(_mount_own)), 0)[1])
        except OSError as error:
            return error.errno or 1

    number = _code(os.waitpid(_fork(lambda: os._exit(attempt())), 0)[1])
    if number == errno.ENOSPC:
        return "a limit in /proc/sys/user is reached"
    return os.strerror(number) if number else ""


def _exit_with(action: Callable[[], None]) -> NoReturn:
    try:
        action()
    except OSError as error:
        os._exit(error.errno or 1)
    os._exit(0)


def _fork(child: Callable[[], None]) -> int:
    """Run ``child`` in a new process that dies with this one; return its id."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(write)
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if select.select([read], [], [], 0)[0]:  # closed: the parent died before the line above
                os._exit(128 + signal.SIGKILL)
            os.close(read)
            child()
        except BaseException as error:  # the child of a fork must not run its parent's code
            os.write(2, f"sandbox: {type(error).__name__}: {error}\n".encode())
        os._exit(127)
    os.close(read)
    return pid


def _become_init(spec: dict[str, Any], found: dict[str, str]) -> None:
    """Be process 1 of the step's namespace: when it ends, the kernel ends all others in it."""
    os.setpgid(0, 0)
    _mount_own()
    step = _fork(lambda: _become_step(spec, found))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == step:
            os._exit(_code(status))


def _become_step(spec: dict[str, Any], found: dict[str, str]) -> None:
    """Isolate this process and replace it by the step; never returns."""
    os.setpgid(0, 0)
    _limit()
    found["network"] = _cut_network()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a user namespace cleared it
    found["filesystem"] = _cut_files(spec["read"], spec["write"])
    _drop_capabilities()
    os.write(1, json.dumps({"isolation": found}).encode() + b"\n")
    os.chdir(spec["cwd"])
    os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 (no shell is the point)


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
    """Enter a network namespace with only loopback."""
    try:
        _unshare(CLONE_NEWNET)
    except OSError as error:
        return f"none: {error.strerror}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    return "loopback only"


def _cut_files(read: list[str], write: list[str]) -> str:
    version = landlock.restrict(read, write)
    return f"landlock {version}" if version else "none: the kernel has no Landlock"


def _unshare(kind: int) -> None:
    """Enter a new namespace: as root or in a user namespace entered before, else through one."""
    if _libc.unshare(kind) == 0:
        return
    uid, gid = os.getuid(), os.getgid()
    _check(_libc.unshare(kind | CLONE_NEWUSER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _mount_own() -> None:
    """Mount a /proc that shows this namespace's processes, and shared memory that ends with it."""
    _check(_libc.unshare(CLONE_NEWNS))
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if Path(SHARED_MEMORY).is_dir():
        _mount("tmpfs", SHARED_MEMORY, "tmpfs", MS_NOSUID | MS_NODEV)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


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
