"""The thread that watches: twenty looks a second, about six of them kept.

with Watch(floors, gpus) as watch:
watch.follow(process.pid)
...
watch.stopped        # why the process was stopped, None when it was not
"""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from recipes.formats.serving.budget import Floors
from release.guard.judge import missing, verdict
from release.guard.kernel_log import KernelLog, open_kernel_log
from release.guard.nvml import Gpus
from release.guard.reading import Phase, Reading, read

LOOK_S = 0.05
KEEP_S = 0.15
PRIORITY = -5
RETURN_S = 30.0
"""How long memory may take to come back after a stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A line of the driver, ``at`` seconds since the guard began."""

    at: float
    xid: int | None
    text: str


class Watch:
    """Reads memory until it is left, and ends the followed process in time."""

    def __init__(self, floors: Floors, gpus: Gpus, kernel: KernelLog | None = None) -> None:
        self._floors = floors
        self._gpus = gpus
        self._kernel = kernel or open_kernel_log()
        self._began = time.monotonic()
        self._root: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="memory-guard")
        self.phase = Phase.STARTING
        self.stopped: str | None = None
        self.missing = 0
        self.heard: list[Heard] = []
        self.first = self._look()
        self.timeline = [self.first]

    def follow(self, pid: int) -> None:
        """Count the tree of ``pid``, and end it by this number when memory runs short."""
        self._root = pid

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching when memory has come back, or has not for half a minute."""
        self._over.set()
        self._thread.join()
        self._listen()
        self._kernel.close()
        self._root, self.phase = None, Phase.AFTER
        deadline = time.monotonic() + RETURN_S
        while True:
            last = self._look()
            self.timeline.append(last)
            self.missing = missing(self._floors, self.first, last)
            if not self.missing or time.monotonic() > deadline:
                return
            time.sleep(KEEP_S)

    def text(self) -> str:
        """Return the timeline, one JSON object a line."""
        return "".join(f"{json.dumps(asdict(reading), sort_keys=True)}\n" for reading in self.timeline)

    def kernel_text(self) -> str:
        """Return what the driver said meanwhile, one JSON object a line."""
        return "".join(f"{json.dumps(asdict(heard), sort_keys=True)}\n" for heard in self.heard)

    def _run(self) -> None:
        # What watches comes before what is watched, where this user may say so.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
        before = self.first
        while not self._over.wait(LOOK_S):
            now = self._look()
            why = verdict(self._floors, self.first, before, now) or self._listen()
            if now.at - self.timeline[-1].at >= KEEP_S or why:
                self.timeline.append(now)
            if why and self._root is not None and self.stopped is None:
                self.stopped = why
                with suppress(ProcessLookupError):
                    os.kill(self._root, signal.SIGTERM)
            before = now

    def _listen(self) -> str | None:
        """Note what the driver said, and return why that is a reason to stop."""
        said = self._kernel.new()
        at = round(time.monotonic() - self._began, 3)
        self.heard += [Heard(at=at, xid=each.xid, text=each.text) for each in said]
        grave = [each.text for each in said if each.grave]
        return f"the driver said: {grave[0]}" if grave else None

    def _look(self) -> Reading:
        return read(time.monotonic() - self._began, self.phase, self._root, self._gpus)
