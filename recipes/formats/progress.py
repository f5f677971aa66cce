"""Progress of a step: JSON lines on the file descriptor that was its stdout.

    {"at": "calibrate", "done": 3, "total": 20, "unit": "rows"}
    {"error": "model.layers.3.mlp.up_proj: amax is zero ..."}

``take_stdout`` moves descriptor 1 away, so that a library's print cannot be taken
for progress. A line stays under 4 KiB, so that a pipe write is atomic.
"""

import json
import os
from dataclasses import dataclass

MAX_LINE = 4096

_fd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How far a step is. ``total`` 0 means that it is not known."""

    at: str
    done: int = 0
    total: int = 0
    unit: str = ""


def take_stdout() -> None:
    """Keep descriptor 1 for progress and send later prints to the log."""
    global _fd
    if _fd is None:
        _fd = os.dup(1)
        os.dup2(2, 1)


def update(at: str, done: int = 0, total: int = 0, unit: str = "") -> None:
    """Report progress to the host; silent outside of a step."""
    _write({"at": at, "done": done, "total": total, "unit": unit})


def error(message: str) -> None:
    """Report the one message that the person in front of the release reads."""
    _write({"error": message[: MAX_LINE // 2]})


def parse(line: str) -> Update | str | None:
    """Parse one line: an Update, an error message, or None when it is neither."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    match data:
        case {"error": str(message)}:
            return message
        case {"at": str(at), "done": int(done), "total": int(total), "unit": str(unit)}:
            return Update(at=at, done=done, total=total, unit=unit)
    return None


def _write(data: dict[str, object]) -> None:
    if _fd is None:
        return
    line = json.dumps(data).encode()
    if len(line) >= MAX_LINE:
        line = json.dumps({"at": str(data.get("at", ""))[:200], "done": 0, "total": 0, "unit": ""}).encode()
    os.write(_fd, line + b"\n")
