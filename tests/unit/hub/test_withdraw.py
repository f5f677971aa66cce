"""Rolling back and yanking on a local Hub: what readers see then, and that nothing is lost."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from release.errors import ConflictError, NetworkError, UsageError
from release.hub.calls import CallJournal
from release.hub.client import Client
from release.hub.insist import one_try
from release.hub.transaction import publish
from release.hub.withdraw import roll_back, yank
from tests.hub_server.running import TOKEN
from tests.unit.hub.remote import HASTE, PATIENCE, Pair


@pytest.fixture(autouse=True)
def _released(pair: Pair) -> None:
    """Publish 1.0.0 and 1.1.0 to the two repos."""
    publish(pair.hub(), pair.release())
    publish(pair.hub(), pair.release(version="1.1.0", body="new"))


@pytest.fixture
def client(pair: Pair) -> Iterator[Client]:
    journal = CallJournal(pair.root / "calls.jsonl", version="", repos={})
    with one_try(PATIENCE):
        yield Client.connect(pair.server.url, PATIENCE, journal, publishes=True)


def _tree(pair: Pair, name: str, revision: str) -> str:
    return pair.server.git(name, "rev-parse", f"{revision}^{{tree}}")


def test_a_rollback_restores_both_trees_and_uploads_nothing(pair: Pair, client: Client) -> None:
    api = HfApi(endpoint=pair.server.url, token=TOKEN)
    api.create_commit(pair.names[0], [CommitOperationAdd("stray.txt", b"x")], commit_message="stray")
    start = len(pair.server.asked())
    assert roll_back(client, pair.names, "1.1.0") == "1.0.0"
    assert not [asked for asked in pair.server.asked(start) if asked["method"] == "PUT"]
    for name in pair.names:
        assert _tree(pair, name, "main") == _tree(pair, name, "v1.0.0")
        assert pair.tags(name) == ["v1.0.0", "v1.1.0"]
    moves = [pair.server.git(name, "rev-parse", "main") for name in pair.names]
    roll_back(client, pair.names, "1.1.0")
    assert [pair.server.git(name, "rev-parse", "main") for name in pair.names] == moves


@pytest.mark.parametrize("how", ["reset", "lost"])
def test_a_rollback_whose_commit_was_not_answered_makes_one(how: str, pair: Pair, client: Client) -> None:
    pair.server.faults({"method": "POST", "path": f"{pair.names[1]}/commit/", "how": how})
    roll_back(client, pair.names, "1.1.0")
    for name in pair.names:
        assert _tree(pair, name, "main") == _tree(pair, name, "v1.0.0")
        assert pair.server.git(name, "rev-list", "--count", "main").strip() == "4"


def test_there_is_nothing_before_the_first_release(pair: Pair, client: Client) -> None:
    with pytest.raises(UsageError, match=r"no release before 1\.0\.0"):
        roll_back(client, pair.names, "1.0.0")


def test_a_yanked_version_is_found_by_nobody_new_and_never_used_again(pair: Pair, client: Client) -> None:
    commits = [pair.server.git(name, "rev-parse", "v1.1.0^{commit}") for name in pair.names]
    yank(client, pair.names, "1.1.0")
    yank(client, pair.names, "1.1.0")
    for name, commit in zip(pair.names, commits, strict=True):
        assert pair.tags(name) == ["v1.0.0", "yanked-v1.1.0"]
        assert pair.server.git(name, "rev-parse", "yanked-v1.1.0^{commit}") == commit
    for body in ("new", "other"):
        with pytest.raises(ConflictError, match="was yanked"):
            publish(pair.hub(), pair.release(version="1.1.0", body=body, figure=2.9))


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("how", ["reset", "lost"])
def test_a_yank_that_was_cut_off_continues(how: str, method: str, pair: Pair, client: Client) -> None:
    pair.server.faults({"method": method, "path": f"{pair.names[1]}/tag/", "how": how})
    hasty = replace(client, patience=HASTE)
    try:
        yank(hasty, pair.names, "1.1.0")
    except NetworkError:
        yank(hasty, pair.names, "1.1.0")
    for name in pair.names:
        assert pair.tags(name) == ["v1.0.0", "yanked-v1.1.0"]


def test_a_version_that_was_never_released_cannot_be_yanked(pair: Pair, client: Client) -> None:
    with pytest.raises(UsageError, match=r"has v9\.9\.9"):
        yank(client, pair.names, "9.9.9")
