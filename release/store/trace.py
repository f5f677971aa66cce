"""The store's own trace: every moment at which a kill could leave something half done.

Each fsync, rename, link, removal, process start and process end of the host goes through
``point``, so that the list below is complete by construction. A test instrument: without
GRAFTSMITH_TRACE nothing is written, and a point is one comparison.

GRAFTSMITH_TRACE names a file to which every point adds two lines, before and after it::

    41 before rename /store/objects/ab/abcd…
    42 after rename /store/objects/ab/abcd…

GRAFTSMITH_KILL_AT=41 ends the process with SIGKILL at that line. Two runs of one command
from equal states pass the same points in the same order: all of them are on one thread.
"""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

FILE = os.environ.get("GRAFTSMITH_TRACE")
KILL_AT = int(os.environ.get("GRAFTSMITH_KILL_AT", "0"))

_count = itertools.count(1)


class Kind(Enum):
    """What happens at a point."""

    FSYNC = "fsync"
    RENAME = "rename"
    LINK = "link"
    REMOVE = "remove"
    START = "start"
    END = "end"


@contextmanager
def point(kind: Kind, place: Path | str) -> Iterator[None]:
    """Mark what is done inside as one point; ``place`` is a path or a process's name."""
    if FILE is None:
        yield
        return
    _pass(FILE, "before", kind, place)
    yield
    _pass(FILE, "after", kind, place)


def _pass(file: str, when: str, kind: Kind, place: Path | str) -> None:
    number = next(_count)
    with Path(file).open("a") as trace:
        trace.write(f"{number} {when} {kind.value} {place}\n")
    if number == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
