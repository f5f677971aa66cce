"""The first process of a step's container: runs the step, and ends when the release does.

Started as ``python -I watch.py STEP...`` inside the container. Its standard input is held
open by the release; when the release dies, even by SIGKILL, the engine closes it, this
process ends, and with it the container. It knows nothing but the standard library.
"""

import os
import subprocess
import sys
import threading

KILLED = 128 + 9


def main() -> int:
    """Run the step of the command line and return its exit code (128 + n for signal n)."""
    threading.Thread(target=_end_with_the_release, daemon=True).start()
    code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
    return code if code >= 0 else 128 - code


def _end_with_the_release() -> None:
    while os.read(0, 1):
        pass
    os._exit(KILLED)


if __name__ == "__main__":
    sys.exit(main())
