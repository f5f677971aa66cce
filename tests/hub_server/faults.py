"""Faults on demand: the next requests that match fail in a chosen way.

    POST /_hub/faults {"faults": [{"method": "POST", "path": "/commit/", "how": "lost", "times": 1}]}

``status`` answers that code without doing anything (429 and 503 with ``retry_after``), ``reset``
breaks the connection before anything is done, ``lost`` does it and breaks the connection instead
of answering, ``late`` does it and answers nothing for ``seconds``, ``slow`` answers after them. The first
``skip`` requests that match are left alone.
"""

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from release.digest import Json
from tests.hub_server.wire import RefusedError, take


class How(Enum):
    """The ways in which a request can fail."""

    STATUS = "status"
    RESET = "reset"
    LOST = "lost"
    LATE = "late"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to ``times`` requests whose method is ``method`` and whose path holds ``path``."""

    method: str
    path: str
    how: How
    times: int = 1
    skip: int = 0
    status: int = 503
    retry_after: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> "Fault":
        """Parse a fault. Raises RefusedError."""
        seconds = data.get("seconds", 0)
        if not isinstance(seconds, int | float):
            raise RefusedError(400, '"seconds": expected a number')
        return cls(
            method=take(data, "method", str),
            path=take(data, "path", str),
            how=How(take(data, "how", str)),
            times=take(data, "times", int, 1),
            skip=take(data, "skip", int, 0),
            status=take(data, "status", int, 503),
            retry_after=take(data, "retry_after", str, ""),
            seconds=float(seconds),
        )


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, int]] = []
        self.struck = 0

    def replace(self, faults: Iterable[Fault]) -> None:
        """Forget the old faults and wait for requests with these."""
        with self._lock:
            self._waiting = [(fault, 0) for fault in faults]

    def next(self, method: str, path: str) -> Fault | None:
        """Return the fault of this request, and count the request."""
        with self._lock:
            for index, (fault, seen) in enumerate(self._waiting):
                if fault.method == method and re.search(fault.path, path):
                    self._waiting[index] = (fault, seen + 1)
                    if fault.skip <= seen < fault.skip + fault.times:
                        self.struck += 1
                        return fault
        return None
