"""Run a short program; print its seconds, its peak memory in bytes and its exit code as JSON.

    python -I -S clock.py OUTPUT PROGRAM [ARGUMENT ...]

A process of its own, and a small one: a child's peak counts from that of its parent.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the program with its output in the file OUTPUT."""
    with open(sys.argv[1], "wb") as output:  # noqa: PTH123 (pathlib alone is 2 MB of the parent's memory)
        began = time.monotonic()
        pid = os.posix_spawn(
            sys.argv[2],
            sys.argv[2:],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
        )
        _, status, usage = os.wait4(pid, 0)
        seconds = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    sys.stdout.write(json.dumps({"seconds": seconds, "memory": usage.ru_maxrss * 1024, "code": code}) + "\n")


if __name__ == "__main__":
    main()
