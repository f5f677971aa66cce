"""A release that is looked at before it is one: pull requests on both repos, then merged and tagged."""

import multiprocessing
from dataclasses import replace

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from release.errors import ConflictError, GraftsmithError, PublishError
from release.hub.intent import Intent
from release.hub.transaction import Release, State, Way, publish
from tests.hub_server.running import TOKEN
from tests.unit.hub.remote import Pair

WRITES = ("PUT", "POST", "DELETE")


def _api(pair: Pair) -> HfApi:
    return HfApi(endpoint=pair.server.url, token=TOKEN)


def _commit(pair: Pair, name: str, path: str, data: bytes, revision: str = "main") -> None:
    operations = [CommitOperationAdd(path, data)]
    _api(pair).create_commit(name, operations, commit_message="meddle", revision=revision)


def _untouched(pair: Pair) -> None:
    """Assert that nothing was merged or tagged."""
    for name in pair.names:
        assert pair.tags(name) == []
        assert "model.safetensors" not in pair.at(name, "main")


def test_a_staged_release_is_in_pull_requests_and_nowhere_else(pair: Pair) -> None:
    wanted = pair.release()
    outcome = publish(pair.hub(), wanted, Way.STAGE)
    assert outcome.state is State.STAGED
    _untouched(pair)
    for repo, staged in zip(wanted.repos, outcome.repos, strict=True):
        assert pair.pulls(repo.repo) == ["open"]
        assert staged.where == f"{pair.server.url}/{repo.repo}/discussions/1"
        assert staged.revision == "refs/pr/1"
        assert staged.sent == repo.tree.size
        assert set(pair.at(repo.repo, staged.revision)) == {*repo.tree.files, ".gitattributes"}


def test_promoting_merges_and_tags_what_was_staged_and_sends_nothing(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    start, told = len(pair.server.asked()), list[Intent]()
    outcome = publish(replace(pair.hub(), confirm=told.append), wanted, Way.PROMOTE)
    assert outcome.state is State.PUBLISHED
    assert not [asked for asked in pair.server.asked(start) if asked["method"] == "PUT"]
    assert [(repo.how, repo.unsent) for repo in told[0].repos] == [("merges pull request #1", 0)] * 2
    pair.check(wanted)
    assert [pair.pulls(name) for name in pair.names] == [["merged"], ["merged"]]
    assert publish(pair.hub(machine="elsewhere"), wanted).state is State.ALREADY
    assert publish(pair.hub(), wanted, Way.PROMOTE).state is State.ALREADY


def test_staging_again_finds_the_pull_requests_by_what_they_hold(pair: Pair) -> None:
    wanted = pair.release()
    first = publish(pair.hub(), wanted, Way.STAGE)
    start = len(pair.server.asked())
    again = publish(pair.hub(machine="elsewhere"), wanted, Way.STAGE)
    assert [repo.where for repo in again.repos] == [repo.where for repo in first.repos]
    writes = [asked["path"] for asked in pair.server.asked(start) if asked["method"] in WRITES]
    assert set(writes) <= {"/api/validate-yaml"}


def test_a_pull_request_that_was_renamed_is_known_by_its_commit(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    settings = pair.server.root / "repos" / f"{pair.names[0]}.json"
    settings.write_text(settings.read_text().replace("Release v1.0.0", "have a look please"))
    publish(pair.hub(), wanted, Way.STAGE)
    assert [pair.pulls(name) for name in pair.names] == [["open"], ["open"]]


def test_what_was_not_staged_is_not_promoted(pair: Pair) -> None:
    wanted = pair.release()
    with pytest.raises(PublishError, match="has no pull request that stages") as caught:
        publish(pair.hub(), wanted, Way.PROMOTE)
    assert "--stage" in caught.value.hint
    publish(pair.hub(), wanted, Way.STAGE)
    with pytest.raises(PublishError, match="holds something else"):
        publish(pair.hub(), pair.release(body="other"), Way.PROMOTE)
    _untouched(pair)


@pytest.mark.parametrize("path", ["config.json", "README.md"])
@pytest.mark.parametrize("which", [0, 1], ids=["master", "nvfp4"])
def test_a_pull_request_that_somebody_changed_is_refused_and_neither_is_merged(
    which: int, path: str, pair: Pair
) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    _commit(pair, pair.names[which], path, b"---\nlicense: mit\n---\n", revision="refs/pr/1")
    for way in (Way.PROMOTE, Way.STAGE):
        with pytest.raises(PublishError, match=rf"#1 of .* holds something else: {path}") as caught:
            publish(pair.hub(), wanted, way)
        assert f"{pair.names[which]}/discussions/1" in caught.value.hint
    _untouched(pair)
    _api(pair).change_discussion_status(pair.names[which], 1, "closed")
    publish(pair.hub(), wanted, Way.STAGE)
    publish(pair.hub(), wanted, Way.PROMOTE)
    pair.check(wanted)


@pytest.mark.parametrize("which", [0, 1], ids=["master", "nvfp4"])
def test_a_main_that_moved_since_is_refused_and_neither_is_merged(which: int, pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    _commit(pair, pair.names[which], "note.txt", b"n")
    for way in (Way.PROMOTE, Way.STAGE):
        with pytest.raises(PublishError, match="main moved since pull request #1") as caught:
            publish(pair.hub(), wanted, way)
        assert "close it" in caught.value.hint
    _untouched(pair)


def test_a_main_that_moves_while_it_is_merged_is_not_tagged(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)

    def meddle(_: Intent) -> None:
        _commit(pair, pair.names[0], "note.txt", b"n")

    with pytest.raises(PublishError, match="or pull request #1 moved while it was merged"):
        publish(replace(pair.hub(), confirm=meddle), wanted, Way.PROMOTE)
    assert "note.txt" in pair.at(pair.names[0], "main"), "a merge keeps what others committed"
    assert pair.tags(pair.names[0]) == pair.tags(pair.names[1]) == []
    publish(pair.hub(), wanted, Way.STAGE)
    publish(pair.hub(), wanted, Way.PROMOTE)
    assert [pair.tags(name) for name in pair.names] == [["v1.0.0"], ["v1.0.0"]]
    assert "note.txt" not in pair.at(pair.names[0], "v1.0.0")


def test_a_pull_request_that_changes_while_it_is_merged_is_not_tagged(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)

    def meddle(_: Intent) -> None:
        _commit(
            pair,
            pair.names[1],
            "README.md",
            b"---\nlicense: mit\n---\nbetter than it is",
            revision="refs/pr/1",
        )

    for hub in (replace(pair.hub(), confirm=meddle), pair.hub()):
        with pytest.raises(PublishError):
            publish(hub, wanted, Way.PROMOTE)
    assert pair.tags(pair.names[0]) == pair.tags(pair.names[1]) == []
    publish(pair.hub(), wanted)
    assert [pair.tags(name) for name in pair.names] == [["v1.0.0"], ["v1.0.0"]]
    assert pair.at(pair.names[1], "v1.0.0")["README.md"] == pair.at(pair.names[1], "refs/pr/1~1")["README.md"]


def test_a_strangers_pull_request_with_the_same_weights_and_another_card_is_not_promoted(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(machine="stranger"), pair.release(figure=9.9), Way.STAGE)
    for way in (Way.STAGE, Way.PROMOTE):
        with pytest.raises(PublishError, match="holds something else"):
            publish(pair.hub(), wanted, way)
    _untouched(pair)


def test_what_is_promoted_is_what_was_signed_when_it_was_staged(pair: Pair) -> None:
    wanted = pair.release(signature="ours")
    staged = publish(pair.hub(), wanted, Way.STAGE)
    assert [repo.signed for repo in staged.repos] == [True, True]
    other = pair.release(signature="another")
    for way in (Way.STAGE, Way.PROMOTE):
        with pytest.raises(PublishError, match=r"holds something else: model\.sig"):
            publish(pair.hub(), other, way)
    _untouched(pair)
    promoted = publish(pair.hub(), wanted, Way.PROMOTE)
    assert [repo.signed for repo in promoted.repos] == [True, True]
    pair.check(wanted)


def test_a_pull_request_that_was_merged_by_hand_is_only_tagged(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    _api(pair).merge_pull_request(pair.names[1], 1)
    _commit(pair, pair.names[1], "note.txt", b"n")
    publish(pair.hub(machine="elsewhere"), wanted, Way.PROMOTE)
    assert "note.txt" not in pair.at(pair.names[1], "v1.0.0")
    assert "note.txt" in pair.at(pair.names[1], "main")


def test_a_staged_release_that_is_published_directly_is_released(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted, Way.STAGE)
    publish(pair.hub(), wanted)
    assert publish(pair.hub(), wanted, Way.PROMOTE).state is State.ALREADY
    pair.check(wanted)


def test_a_version_that_was_released_with_other_content_is_not_staged(pair: Pair) -> None:
    publish(pair.hub(), pair.release())
    with pytest.raises(ConflictError):
        publish(pair.hub(), pair.release(body="other"), Way.STAGE)
    assert pair.pulls(pair.names[0]) == []


def _publish(pair: Pair, wanted: Release, way: Way, machine: str) -> str:
    try:
        return publish(pair.hub(machine=machine), wanted, way).state.value
    except GraftsmithError as error:
        return f"{type(error).__name__}: {error}"


def _at_once(pair: Pair, wanted: Release, way: Way) -> list[str]:
    context = multiprocessing.get_context("fork")
    states = context.SimpleQueue()
    machines = [
        context.Process(target=lambda m=machine: states.put(_publish(pair, wanted, way, m)))
        for machine in ("one", "two")
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    return [states.get() for _ in machines]


@pytest.mark.parametrize("attempt", range(3))
def test_two_machines_that_stage_and_promote_the_same_agree(pair: Pair, attempt: int) -> None:
    wanted = pair.release()
    assert set(_at_once(pair, wanted, Way.STAGE)) == {"staged"}
    assert [pair.pulls(name).count("open") for name in pair.names] == [1, 1]
    assert set(_at_once(pair, wanted, Way.PROMOTE)) <= {"published", "already"}
    for name in pair.names:
        assert pair.tags(name) == ["v1.0.0"]
        assert pair.server.git(name, "rev-list", "--count", "main").strip() == "2"
