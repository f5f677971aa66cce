"""Whatever breaks on the way: the same command again, and both repos are right.

Every request of the protocol by every way to fail, and a kill around every line of the journal.
Each case has two repos of its own on one real server; the first run gives up at the fault.
"""

import multiprocessing
import os
import signal
from typing import NamedTuple

import pytest

from release.errors import NetworkError
from release.hub.calls import CallJournal
from release.hub.transaction import Release, State, publish
from tests.unit.hub.remote import HASTE, PATIENCE, Pair


class Ask(NamedTuple):
    """One request of the protocol: the ``skip``-th of its kind that a publish sends."""

    name: str
    method: str
    path: str
    skip: int = 0


PER_REPO = (
    Ask("tags", "GET", r"/api/models/{}/refs$"),
    Ask("main", "GET", r"/api/models/{}/refs$", 1),
    Ask("may-write", "GET", r"/api/models/{}/auth-check/write$"),
    Ask("files-of-main", "GET", r"/api/models/{}/tree/"),
    Ask("preupload", "POST", r"/api/models/{}/preupload/"),
    Ask("batch", "POST", r"/{}.git/info/lfs/objects/batch$"),
    Ask("put", "PUT", r"/_lfs/{}/[0-9a-f]*$"),
    Ask("put-part", "PUT", r"/_lfs/{}/[0-9a-f]*/parts/2$"),
    Ask("complete", "POST", r"/_lfs/{}/[0-9a-f]*/complete$"),
    Ask("lfs-verify", "POST", r"/{}.git/info/lfs/objects/verify$"),
    Ask("commit", "POST", r"/api/models/{}/commit/main$"),
    Ask("files-of-commit", "GET", r"/api/models/{}/tree/", 1),
    Ask("tag", "POST", r"/api/models/{}/tag/"),
    Ask("sums", "GET", r"/{}/resolve/.*/SHA256SUMS$"),
)
ASKED = [
    Ask("whoami", "GET", "/api/whoami-v2$"),
    *(Ask(f"card-{skip}", "POST", "/api/validate-yaml$", skip) for skip in range(4)),
    *(
        Ask(f"{which}-{ask.name}", ask.method, ask.path.replace("{}", name), ask.skip)
        for which, name in (("master", "graftsmith/CASE"), ("nvfp4", "graftsmith/CASE-NVFP4"))
        for ask in PER_REPO
    ),
]
FAULTS: dict[str, dict[str, str | int | float]] = {
    "503": {"how": "status", "status": 503},
    "429": {"how": "status", "status": 429, "retry_after": "0"},
    "reset": {"how": "reset"},
    "lost": {"how": "lost"},
    "timeout": {"how": "late", "seconds": 0.9},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ask", ASKED, ids=[ask.name for ask in ASKED])
def test_a_publish_that_gave_up_is_finished_by_the_same_command(ask: Ask, fault: str, pair: Pair) -> None:
    wanted = pair.release()
    _strike(pair, ask, fault)
    before = pair.server.struck()
    try:
        publish(pair.hub(HASTE), wanted)
    except NetworkError as error:
        assert error.code == 11
        assert "same command" in error.hint
    assert pair.server.struck() == before + 1, "the fault met no request: the matrix is out of step"
    outcome = publish(pair.hub(), wanted)
    assert {repo.commit for repo in outcome.repos} == {
        pair.server.git(name, "rev-parse", "v1.0.0^{commit}").strip() for name in pair.names
    }
    pair.check(wanted)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["put", "put-part", "complete", "commit", "tag"])
def test_a_publish_that_does_not_give_up_needs_no_second_run(kind: str, fault: str, pair: Pair) -> None:
    wanted = pair.release()
    _strike(pair, next(ask for ask in ASKED if ask.name == f"nvfp4-{kind}"), fault)
    assert publish(pair.hub(PATIENCE), wanted).state is State.PUBLISHED
    pair.check(wanted)


def _strike(pair: Pair, ask: Ask, fault: str) -> None:
    path = ask.path.replace("graftsmith/CASE", f"graftsmith/{pair.name}")
    pair.server.faults({"method": ask.method, "path": path, "skip": ask.skip, **FAULTS[fault]})


LINES = 15


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("line", range(1, LINES + 1))
def test_a_publish_killed_around_a_line_of_its_journal_is_finished(line: int, when: str, pair: Pair) -> None:
    wanted = pair.release()
    child = multiprocessing.get_context("fork").Process(
        target=_publish_and_die, args=(pair, wanted, line, when)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, "the journal has fewer lines than the matrix"
    publish(pair.hub(), wanted)
    pair.check(wanted)
    assert not list(pair.root.rglob("*.jsonl"))


def _publish_and_die(pair: Pair, wanted: Release, line: int, when: str) -> None:
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
    publish(pair.hub(HASTE), wanted)
