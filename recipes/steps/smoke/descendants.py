"""What a server starts must end with it, also when the server was killed and could not see to it.

    with ended():
        start_server()

vLLM's engine is a process of its own that does not notice the end of its parent. Whatever loses
its parent inside the block becomes a child of this process, and is ended with the block.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def ended() -> Iterator[None]:
    """End by their numbers, when the block ends, all processes that came into being inside it."""
    before = set(children())
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        # The end of one hands its children over, so look again until there are none.
        while left := set(children()) - before:
            for pid in left:
                _end(pid)
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children() -> list[int]:
    """Return the processes whose parent this one is."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
