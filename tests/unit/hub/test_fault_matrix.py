"""Whatever breaks on the way: the same command again, and both repos are right.

Every request of the protocol by every way to fail, and a kill around every line of the journal.
Each case has two repos of its own on one real server; the first run gives up at the fault.
"""

import pytest

from release.errors import NetworkError
from release.hub.transaction import State, Way, publish
from tests.unit.hub.remote import HASTE, PATIENCE, Pair
from tests.unit.hub.striking import FAULTS, Ask, kill_around, of_both, strike

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
    *of_both(PER_REPO),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ask", ASKED, ids=[ask.name for ask in ASKED])
def test_a_publish_that_gave_up_is_finished_by_the_same_command(ask: Ask, fault: str, pair: Pair) -> None:
    wanted = pair.release()
    strike(pair, ask, fault)
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
    strike(pair, next(ask for ask in ASKED if ask.name == f"nvfp4-{kind}"), fault)
    assert publish(pair.hub(PATIENCE), wanted).state is State.PUBLISHED
    pair.check(wanted)


LINES = 15


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("line", range(1, LINES + 1))
def test_a_publish_killed_around_a_line_of_its_journal_is_finished(line: int, when: str, pair: Pair) -> None:
    wanted = pair.release()
    kill_around(pair, wanted, Way.DIRECT, line, when)
    publish(pair.hub(), wanted)
    pair.check(wanted)
    assert not list(pair.root.rglob("*.jsonl"))
