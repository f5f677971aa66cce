"""Landlock: an allow-list of folders that the kernel enforces, without privileges.

Standard library alone: it runs in the sandbox before the step's own interpreter starts.
Source of the numbers: linux/landlock.h and the kernel's userspace-api/landlock.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

CREATE_RULESET = 444
ADD_RULE = 445
RESTRICT_SELF = 446
VERSION_FLAG = 1
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
READ = EXECUTE | READ_FILE | READ_DIR
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15

RIGHTS_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""File-system rights known to each ABI version; later versions add none to them."""

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Return the kernel's Landlock version; 0 where there is none."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, 0, VERSION_FLAG)))


def restrict(read: Iterable[str], write: Iterable[str]) -> int:
    """Allow this process and its children only ``read`` and ``write``; return the ABI.

    Paths that do not exist are left out. Returns 0, and restricts nothing, where the
    kernel has no Landlock. Raises OSError when the kernel refuses.
    """
    version = abi()
    if version == 0:
        return 0
    rights = RIGHTS_OF_ABI[min(version, 5)]
    attributes = ctypes.create_string_buffer(struct.pack("Q", rights))
    ruleset = _check(_libc.syscall(CREATE_RULESET, attributes, 8, 0))
    for paths, allowed in ((read, READ), (write, rights)):
        for path in paths:
            _allow(ruleset, path, allowed & rights)
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 (pathlib is not loaded here)
            rights &= FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd))
        _check(_libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0))
    finally:
        os.close(fd)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
