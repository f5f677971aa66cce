"""Faults and kills for the matrices: which request fails how, and where a publish dies."""

import multiprocessing
import os
import signal
from typing import NamedTuple

from release.hub.calls import CallJournal
from release.hub.transaction import Release, Way, publish
from tests.unit.hub.remote import HASTE, Pair

FAULTS: dict[str, dict[str, str | int | float]] = {
    "503": {"how": "status", "status": 503},
    "429": {"how": "status", "status": 429, "retry_after": "0"},
    "reset": {"how": "reset"},
    "lost": {"how": "lost"},
    "timeout": {"how": "late", "seconds": 0.9},
}


class Ask(NamedTuple):
    """One request of the protocol: the ``skip``-th of its kind that a publish sends."""

    name: str
    method: str
    path: str
    skip: int = 0


def of_both(asks: tuple[Ask, ...]) -> list[Ask]:
    """Return requests of one repo for both repos of a case."""
    return [
        Ask(f"{which}-{ask.name}", ask.method, ask.path.replace("{}", name), ask.skip)
        for which, name in (("master", "graftsmith/CASE"), ("nvfp4", "graftsmith/CASE-NVFP4"))
        for ask in asks
    ]


def strike(pair: Pair, ask: Ask, fault: str) -> None:
    """Let this request of the pair's next publish fail."""
    path = ask.path.replace("graftsmith/CASE", f"graftsmith/{pair.name}")
    pair.server.faults({"method": ask.method, "path": path, "skip": ask.skip, **FAULTS[fault]})


def kill_around(pair: Pair, wanted: Release, way: Way, line: int, when: str) -> None:
    """Publish in a process that dies before or after it writes a line of its journal."""
    child = multiprocessing.get_context("fork").Process(
        target=_publish_and_die, args=(pair, wanted, way, line, when)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, "the journal has fewer lines than the matrix"


def _publish_and_die(pair: Pair, wanted: Release, way: Way, line: int, when: str) -> None:
    note, lines = CallJournal.note, 0

    def dying(journal: CallJournal, call: str, repo: str = "", commit: str = "") -> None:
        nonlocal lines
        lines += 1
        if (lines, when) == (line, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        note(journal, call, repo, commit)
        if lines == line:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(CallJournal, "note", dying)  # noqa: B010 (a method is replaced in this process only)
    publish(pair.hub(HASTE), wanted, way)
