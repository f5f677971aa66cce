"""Whatever breaks while a release is staged or promoted: the same command again, and both are right.

The requests that a direct publish sends as well are in ``test_fault_matrix.py``; here are those
about pull requests, and what a run is sent to compare.
"""

import pytest

from release.errors import NetworkError
from release.hub.transaction import Release, State, Way, publish
from tests.unit.hub.remote import HASTE, PATIENCE, Pair
from tests.unit.hub.striking import FAULTS, Ask, kill_around, of_both, strike

# The client's own retries are tried on every request of a direct publish; here a reply that is lost,
# which only comparing tells, and the others on demand.
ALL = [fault if fault == "lost" else pytest.param(fault, marks=pytest.mark.heavy) for fault in FAULTS]
STAGED = of_both(
    (
        Ask("pulls-before", "GET", r"/api/models/{}/refs$", 2),
        Ask("put", "PUT", r"/_lfs/{}/[0-9a-f]*$"),
        Ask("open", "POST", r"/api/models/{}/commit/main$"),
        Ask("pulls-after", "GET", r"/api/models/{}/refs$", 3),
        Ask("their-titles", "GET", r"/api/models/{}/discussions$"),
        Ask("files-of-pull", "GET", r"/api/models/{}/tree/", 1),
        Ask("history-of-pull", "GET", r"/api/models/{}/commits/"),
        Ask("files-verified", "GET", r"/api/models/{}/tree/", 2),
        Ask("sums", "GET", r"/{}/resolve/.*/SHA256SUMS$"),
    )
)
PROMOTED = of_both(
    (
        Ask("tags", "GET", r"/api/models/{}/refs$"),
        Ask("main", "GET", r"/api/models/{}/refs$", 1),
        Ask("may-write", "GET", r"/api/models/{}/auth-check/write$"),
        Ask("files-of-main", "GET", r"/api/models/{}/tree/"),
        Ask("pulls", "GET", r"/api/models/{}/refs$", 2),
        Ask("their-titles", "GET", r"/api/models/{}/discussions$"),
        Ask("files-of-pull", "GET", r"/api/models/{}/tree/", 2),
        Ask("history-of-pull", "GET", r"/api/models/{}/commits/"),
        Ask("merge", "POST", r"/api/models/{}/discussions/1/merge$"),
        Ask("merged-at", "GET", r"/api/models/{}/discussions/1$"),
        Ask("files-of-merge", "GET", r"/api/models/{}/tree/", 3),
        Ask("files-verified", "GET", r"/api/models/{}/tree/", 4),
        Ask("tag", "POST", r"/api/models/{}/tag/"),
        Ask("sums", "GET", r"/{}/resolve/.*/SHA256SUMS$"),
    )
)


def _one_pull_each(pair: Pair) -> None:
    for name in pair.names:
        assert pair.pulls(name) == ["open"]
        assert pair.server.git(name, "rev-list", "--count", "main").strip() == "1"
        assert pair.tags(name) == []


def _until(pair: Pair, wanted: Release, way: Way, ask: Ask, fault: str) -> None:
    """Run once with the fault, then once more."""
    strike(pair, ask, fault)
    before = pair.server.struck()
    try:
        publish(pair.hub(HASTE), wanted, way)
    except NetworkError as error:
        assert error.code == 11
    assert pair.server.struck() == before + 1, "the fault met no request: the matrix is out of step"
    publish(pair.hub(), wanted, way)


@pytest.mark.parametrize("fault", ALL)
@pytest.mark.parametrize("ask", STAGED, ids=[ask.name for ask in STAGED])
def test_a_stage_that_gave_up_ends_in_one_pull_request_each(ask: Ask, fault: str, pair: Pair) -> None:
    wanted = pair.release()
    _until(pair, wanted, Way.STAGE, ask, fault)
    _one_pull_each(pair)
    assert publish(pair.hub(), wanted, Way.PROMOTE).state is State.PUBLISHED
    pair.check(wanted)


@pytest.mark.parametrize("fault", ALL)
@pytest.mark.parametrize("ask", PROMOTED, ids=[ask.name for ask in PROMOTED])
def test_a_promotion_that_gave_up_is_finished_by_the_same_command(ask: Ask, fault: str, pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    _until(pair, wanted, Way.PROMOTE, ask, fault)
    pair.check(wanted)
    assert [pair.pulls(name) for name in pair.names] == [["merged"], ["merged"]]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_does_not_give_up_opens_one_and_merges_once(fault: str, pair: Pair) -> None:
    wanted = pair.release()
    strike(pair, next(ask for ask in STAGED if ask.name == "nvfp4-open"), fault)
    publish(pair.hub(PATIENCE), wanted, Way.STAGE)
    _one_pull_each(pair)
    strike(pair, next(ask for ask in PROMOTED if ask.name == "nvfp4-merge"), fault)
    publish(pair.hub(PATIENCE), wanted, Way.PROMOTE)
    pair.check(wanted)


LINES_OF_STAGE, LINES_OF_PROMOTION = 13, 13


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("line", range(1, LINES_OF_STAGE + 1))
def test_a_stage_killed_around_a_line_of_its_journal_is_finished(line: int, when: str, pair: Pair) -> None:
    wanted = pair.release()
    kill_around(pair, wanted, Way.STAGE, line, when)
    publish(pair.hub(), wanted, Way.STAGE)
    _one_pull_each(pair)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("line", range(1, LINES_OF_PROMOTION + 1))
def test_a_promotion_killed_around_a_journal_line_goes_on(line: int, when: str, pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(machine="another"), wanted, Way.STAGE)  # so that the journal begins here
    kill_around(pair, wanted, Way.PROMOTE, line, when)
    publish(pair.hub(), wanted, Way.PROMOTE)
    pair.check(wanted)
    assert not list((pair.root / "here").rglob("*.jsonl"))
