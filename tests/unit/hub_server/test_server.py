"""The local Hub, asked by huggingface_hub itself and looked at by git itself."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.hub_server.running import READER, TOKEN, RunningHub, running

REPO = "graftsmith/one"
WEIGHTS = bytes(range(256)) * 1000


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running(tmp_path / "hub", "--part-size", "100000") as found:
        yield found


@pytest.fixture
def api(hub: RunningHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token=TOKEN)
    api.create_repo(REPO)
    return api


def _add(api: HfApi, path: str, data: bytes, parent: str | None = None) -> str:
    operation = CommitOperationAdd(path, data)
    return api.create_commit(REPO, [operation], commit_message=f"add {path}", parent_commit=parent).oid


def test_what_was_answered_survives_a_kill_and_git_finds_it_whole(api: HfApi, hub: RunningHub) -> None:
    _add(api, "model.safetensors", WEIGHTS)
    oid = _add(api, "README.md", b"---\nlicense: apache-2.0\n---\n# one\n")
    api.create_tag(REPO, tag="v1", tag_message="first", revision=oid)
    hub.stop()
    with running(hub.root) as again:
        there = HfApi(endpoint=again.url)
        assert there.model_info(REPO, revision="v1").sha == oid
        found = {entry.path: entry for entry in there.get_paths_info(REPO, ["model.safetensors"])}
        lfs = found["model.safetensors"].lfs  # type: ignore[union-attr]
        assert lfs is not None and lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
        assert again.git(REPO, "fsck", "--strict") == ""
        assert again.git(REPO, "log", "--format=%s", "main").splitlines() == [
            "add README.md",
            "add model.safetensors",
            "initial commit",
        ]


def test_large_blobs_are_sent_in_parts_and_only_once(api: HfApi, hub: RunningHub) -> None:
    _add(api, "model.safetensors", WEIGHTS)
    _add(api, "again.safetensors", WEIGHTS)
    sent = [asked["path"] for asked in hub.asked() if asked["method"] == "PUT"]
    assert len(sent) == 3 and all("/parts/" in str(path) for path in sent)


def test_a_stale_parent_is_refused(api: HfApi) -> None:
    before = api.model_info(REPO).sha
    assert before is not None
    _add(api, "a.txt", b"a")
    with pytest.raises(HfHubHTTPError) as caught:
        _add(api, "b.txt", b"b", parent=before)
    assert caught.value.response.status_code == 412


def test_ranges_of_small_and_large_files(api: HfApi, hub: RunningHub) -> None:
    _add(api, "model.safetensors", WEIGHTS)
    _add(api, "a.txt", b"0123456789")
    for path, whole in (("model.safetensors", WEIGHTS), ("a.txt", b"0123456789")):
        url = f"{hub.url}/{REPO}/resolve/main/{path}"
        reply = get_session().get(url, headers={"Range": "bytes=2-5"})
        assert (reply.status_code, reply.content) == (206, whole[2:6])
        assert get_session().get(url, headers={"Range": "bytes=-3"}).content == whole[-3:]


def test_a_file_is_deleted_and_a_folder_listed(api: HfApi) -> None:
    _add(api, "a/b.txt", b"b")
    _add(api, "c.txt", b"c")
    api.create_commit(REPO, [CommitOperationDelete("c.txt")], commit_message="drop")
    assert [entry.path for entry in api.list_repo_tree(REPO)] == ["a", ".gitattributes"]
    assert [entry.path for entry in api.list_repo_tree(REPO, "a")] == ["a/b.txt"]
    assert next(commit.title for commit in api.list_repo_commits(REPO)) == "drop"


def test_a_pull_request_is_read_merged_and_tagged(api: HfApi, hub: RunningHub) -> None:
    made = api.create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="v1", create_pr=True)
    assert made.pr_num is not None
    assert api.file_exists(REPO, "a.txt", revision=f"refs/pr/{made.pr_num}")
    assert not api.file_exists(REPO, "a.txt")
    api.merge_pull_request(REPO, made.pr_num)
    assert api.file_exists(REPO, "a.txt")
    assert api.get_discussion_details(REPO, made.pr_num).status == "merged"
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert refs.pull_requests is not None and len(refs.pull_requests) == 1


def test_a_merge_keeps_what_others_committed_and_refuses_a_conflict(api: HfApi) -> None:
    main = api.model_info(REPO).sha
    opened = [
        api.create_commit(
            REPO,
            [CommitOperationAdd("a.txt", data)],
            commit_message="a",
            create_pr=True,
            parent_commit=main,
        ).pr_num
        for data in (b"one", b"two")
    ]
    _add(api, "b.txt", b"b")
    assert opened[0] is not None and opened[1] is not None
    api.merge_pull_request(REPO, opened[0])
    assert {"a.txt", "b.txt"} <= {entry.path for entry in api.list_repo_tree(REPO)}
    with pytest.raises(HfHubHTTPError, match="conflicts with the base branch"):
        api.merge_pull_request(REPO, opened[1])


def test_names_that_are_not_there(api: HfApi) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("graftsmith/none")
    with pytest.raises(RevisionNotFoundError):
        list(api.list_repo_tree(REPO, revision="v9"))
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(REPO, "none.json")


def test_who_may_do_what(api: HfApi, hub: RunningHub) -> None:
    assert api.whoami()["name"] == "graftsmith"
    reader = HfApi(endpoint=hub.url, token=READER)
    api.auth_check(REPO, write=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        reader.auth_check(REPO, write=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        reader.create_tag(REPO, tag="v1")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url, token=TOKEN[:-1]).whoami()
    api.create_repo("graftsmith/hidden", visibility="private")
    with pytest.raises(RepositoryNotFoundError):
        reader.model_info("graftsmith/hidden")


def test_a_tag_stays_where_it_is(api: HfApi) -> None:
    api.create_tag(REPO, tag="v1")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="v1", revision=_add(api, "a.txt", b"a"))
    api.delete_tag(REPO, tag="v1")
    assert not api.list_repo_refs(REPO).tags


def test_a_card_with_wrong_metadata_is_refused(api: HfApi) -> None:
    with pytest.raises(ValueError, match="base_model_relation"):
        _add(api, "README.md", b"---\nbase_model_relation: cousin\n---\n")


def test_bytes_with_another_digest_and_unsigned_addresses_are_refused(api: HfApi, hub: RunningHub) -> None:
    url = f"{hub.url}/_lfs/{REPO}/{'0' * 64}"
    assert get_session().put(url, content=b"x").status_code == 403


def test_a_fault_strikes_as_often_as_told(api: HfApi, hub: RunningHub) -> None:
    hub.faults({"method": "GET", "path": "/refs$", "how": "status", "status": 503, "times": 1})
    with pytest.raises(HfHubHTTPError, match="503"):
        api.list_repo_refs(REPO)
    assert api.list_repo_refs(REPO).branches
