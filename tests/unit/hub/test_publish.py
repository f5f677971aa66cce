"""Publishing to a folder: both repos appear, once, whatever happens on the way."""

import errno
import json
import multiprocessing
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from release.errors import ConflictError, GraftsmithError, MachineError, PublishError, UsageError
from release.hub.folder import FolderHub, FolderRepo, released
from release.hub.transaction import Release, RepoTree, State, Way, publish
from tests.unit.hub.release_trees import MASTER, NVFP4, manifest, release

REPOS = (MASTER, NVFP4)


def _seen(hub: FolderHub) -> list[str]:
    """Return everything that a reader of the hub sees."""
    return sorted(path.relative_to(hub.root).as_posix() for path in hub.root.glob("*/*/[!.]*"))


def _hidden(hub: FolderHub) -> list[str]:
    return sorted(path.name for path in hub.root.glob("*/*/.*"))


def test_both_repos_appear_with_exactly_their_files(tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    outcome = publish(hub, wanted)
    assert outcome.state is State.PUBLISHED
    assert set(_seen(hub)) == {f"{MASTER}/v1.0.0", f"{NVFP4}/v1.0.0"}
    assert not _hidden(hub)
    for repo, published in zip(wanted.repos, outcome.repos, strict=True):
        where = Path(published.where)
        assert manifest(where) == repo.tree
        printed = subprocess.run(
            ["sha256sum", "SHA256SUMS"], cwd=where, capture_output=True, text=True, check=True
        )
        assert printed.stdout.split()[0] == published.sums


def test_read_only_files_of_the_store_are_linked_not_copied(tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    publish(hub, wanted)
    shown = hub.path(MASTER, "1.0.0") / "model.safetensors"
    assert shown.samefile(wanted.repos[0].root / "model.safetensors")
    assert shown.stat().st_mode & 0o222 == 0


def test_a_writable_file_is_copied_so_that_it_cannot_change_under_its_name(tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    source = wanted.repos[0].root / "config.json"
    source.chmod(0o644)
    publish(hub, wanted)
    shown = hub.path(MASTER, "1.0.0") / "config.json"
    source.write_text("changed")
    assert json.loads(shown.read_text()) == {"model_type": "qwen3_5"}
    assert shown.stat().st_mode & 0o222 == 0


def test_the_same_release_again_writes_nothing(tmp_path: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    first = publish(hub, release(tmp_path / "store"))
    before = {path: path.stat().st_ino for path in hub.root.rglob("*")}
    second = publish(hub, release(tmp_path / "again", figure=2.7))
    assert second.state is State.ALREADY
    assert second.repos == first.repos
    assert {path: path.stat().st_ino for path in hub.root.rglob("*")} == before


@pytest.mark.parametrize("change", [{"body": "other"}, {"lock": "9" * 64}])
def test_other_content_under_the_same_version_is_a_conflict(change: dict[str, str], tmp_path: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    publish(hub, release(tmp_path / "store"))
    before = manifest(hub.root)
    with pytest.raises(ConflictError, match="already published with other content") as caught:
        publish(hub, release(tmp_path / "other", **change))  # type: ignore[arg-type]
    assert caught.value.code == 8
    assert manifest(hub.root) == before


def test_a_new_version_stands_beside_the_old_one(tmp_path: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    publish(hub, release(tmp_path / "store"))
    publish(hub, release(tmp_path / "next", version="1.1.0", body="other"))
    assert len(_seen(hub)) == 4


def test_something_else_under_the_name_is_left_alone(tmp_path: Path) -> None:
    hub = FolderHub(tmp_path / "hub")
    hub.path(NVFP4, "1.0.0").mkdir(parents=True)
    with pytest.raises(ConflictError, match="is there and is no release"):
        publish(hub, release(tmp_path / "store"))
    assert _seen(hub) == [f"{NVFP4}/v1.0.0"]


class Kill(NamedTuple):
    """Where a publish is killed: at which call of which method."""

    method: str
    call: int
    after: bool


KILLS = [
    Kill("stage", 1, False),
    Kill("_place", 3, True),
    Kill("stage", 2, False),
    Kill("commit", 1, False),
    Kill("verify", 2, True),
    Kill("tag", 1, False),
    Kill("tag", 1, True),
    Kill("tag", 2, True),
]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: f"{kill.method}-{kill.call}-{kill.after}")
@pytest.mark.parametrize("copied", [False, True], ids=["linked", "copied"])
def test_a_killed_publish_is_finished_by_the_same_command(kill: Kill, copied: bool, tmp_path: Path) -> None:
    wanted = release(tmp_path / "store")
    if copied:
        for path in tmp_path.rglob("*.safetensors"):
            path.chmod(0o644)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_publish_and_die, args=(tmp_path, kill, wanted))
    child.start()
    child.join()
    assert child.exitcode == 137
    hub = FolderHub(tmp_path / "hub")
    renamed = [repo for repo in REPOS if hub.path(repo, "1.0.0").exists()]
    assert (released(hub, "1.0.0", REPOS) is not None) == (len(renamed) == 2)
    outcome = publish(hub, wanted)
    assert outcome.state is (State.ALREADY if len(renamed) == 2 else State.PUBLISHED)
    assert [manifest(hub.path(repo.repo, "1.0.0")) for repo in wanted.repos] == [r.tree for r in wanted.repos]
    assert not _hidden(hub)


def _publish_and_die(root: Path, kill: Kill, wanted: Release, way: Way = Way.DIRECT) -> None:
    original: Callable[..., None] = getattr(FolderRepo, kill.method)
    calls = 0

    def dying(repo: FolderRepo, *args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == kill.call and not kill.after:
            os._exit(137)
        original(repo, *args)
        if calls == kill.call:
            os._exit(137)

    setattr(FolderRepo, kill.method, dying)
    publish(FolderHub(root / "hub"), wanted, way)


def test_a_staged_release_waits_hidden_and_is_promoted_without_a_copy(tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    for _ in range(2):
        outcome = publish(hub, wanted, Way.STAGE)
        assert outcome.state is State.STAGED
        assert not _seen(hub)
    hidden = [Path(repo.where) for repo in outcome.repos]
    assert [manifest(where) for where in hidden] == [repo.tree for repo in wanted.repos]
    inodes = [(where / "model.safetensors").stat().st_ino for where in hidden]
    promoted = publish(hub, wanted, Way.PROMOTE)
    assert promoted.state is State.PUBLISHED
    shown = [Path(repo.where) for repo in promoted.repos]
    assert [(where / "model.safetensors").stat().st_ino for where in shown] == inodes
    assert not _hidden(hub)
    assert publish(hub, wanted, Way.PROMOTE).state is State.ALREADY


def test_what_is_not_staged_is_not_promoted(tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    with pytest.raises(PublishError, match="is not staged"):
        publish(hub, wanted, Way.PROMOTE)
    publish(hub, release(tmp_path / "other", body="other"), Way.STAGE)
    with pytest.raises(PublishError, match="holds something else"):
        publish(hub, wanted, Way.PROMOTE)
    assert not _seen(hub)


@pytest.mark.parametrize("changed", ["config.json", "stray.txt"])
def test_a_staged_folder_that_somebody_changed_is_refused(changed: str, tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    staged = Path(publish(hub, wanted, Way.STAGE).repos[1].where)
    (staged / changed).unlink(missing_ok=True)
    (staged / changed).write_text(json.dumps({"model_type": "qwen3_6"}))  # as many bytes as before
    with pytest.raises(PublishError, match=changed.replace(".", r"\.")):
        publish(hub, wanted, Way.PROMOTE)
    assert not _seen(hub)


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_killed_promotion_of_a_folder_is_finished(call: int, after: bool, tmp_path: Path) -> None:
    wanted = release(tmp_path / "store")
    hub = FolderHub(tmp_path / "hub")
    publish(hub, wanted, Way.STAGE)
    child = multiprocessing.get_context("fork").Process(
        target=_publish_and_die, args=(tmp_path, Kill("tag", call, after), wanted, Way.PROMOTE)
    )
    child.start()
    child.join()
    assert child.exitcode == 137
    publish(hub, wanted, Way.PROMOTE)
    assert [manifest(hub.path(repo.repo, "1.0.0")) for repo in wanted.repos] == [r.tree for r in wanted.repos]
    assert not _hidden(hub)


def test_a_template_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    wanted = release(tmp_path / "store")
    pinned = {"config.json": wanted.repos[0].tree.files["config.json"].sha256}
    master, nvfp4 = wanted.repos
    right = (replace(master, locked=pinned), replace(nvfp4, locked=pinned))
    wrong = (right[0], replace(nvfp4, locked={"chat_template.jinja": "0" * 64}))
    hub = FolderHub(tmp_path / "hub")
    with pytest.raises(PublishError, match=r"chat_template\.jinja is not the one that is locked"):
        publish(hub, replace(wanted, repos=wrong))
    assert not _seen(hub)
    assert publish(hub, replace(wanted, repos=right)).state is State.PUBLISHED


def test_staged_bytes_of_another_release_are_not_adopted(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    kill = Kill("tag", 1, False)
    child = context.Process(
        target=_publish_and_die, args=(tmp_path, kill, release(tmp_path / "old", body="old"))
    )
    child.start()
    child.join()
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "new", body="new")
    publish(hub, wanted)
    assert manifest(hub.path(MASTER, "1.0.0")) == wanted.repos[0].tree


def _publish(root: Path, wanted: Release) -> str:
    try:
        return publish(FolderHub(root), wanted).state.value
    except GraftsmithError as error:
        return type(error).__name__


def test_two_publishers_at_once_publish_once(tmp_path: Path) -> None:
    wanted = release(tmp_path / "store")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        states = pool.starmap(_publish, [(tmp_path / "hub", wanted)] * 4)
    assert sorted(states) == ["already", "already", "already", "published"]


def test_two_publishers_of_different_content_leave_one_of_them(tmp_path: Path) -> None:
    both = [release(tmp_path / body, body=body) for body in ("one", "two")]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        states = pool.starmap(_publish, [(tmp_path / "hub", wanted) for wanted in both])
    assert sorted(states) == ["ConflictError", "published"]
    assert released(FolderHub(tmp_path / "hub"), "1.0.0", REPOS) is not None


def test_a_small_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    (wanted.repos[0].root / "model.safetensors").chmod(0o644)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(MachineError, match="needs 8,000 bytes, 100 are free"):
        publish(hub, wanted)
    assert not _seen(hub)
    assert not _hidden(hub)


def test_a_disk_that_fills_up_leaves_nothing_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    (wanted.repos[1].root / "model.safetensors").chmod(0o644)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(MachineError, match="no space left"):
        patch.setattr("shutil.copyfile", full)
        publish(hub, wanted)
    assert not _seen(hub)
    assert publish(hub, wanted).state is State.PUBLISHED


def test_bytes_that_rotted_in_the_store_are_not_published(tmp_path: Path) -> None:
    hub, wanted = FolderHub(tmp_path / "hub"), release(tmp_path / "store")
    rotten = wanted.repos[1].root / "model.safetensors"
    rotten.chmod(0o644)
    rotten.write_bytes(rotten.read_bytes()[:-1] + b"?")
    rotten.chmod(0o444)
    with pytest.raises(PublishError, match=r"model\.safetensors is not what was meant"):
        publish(hub, wanted)
    assert not _seen(hub)


@pytest.mark.parametrize("name", ["../x", "a/../b", "/abs/x", "", "a/.hidden", "-x/y", "a/b/c"])
def test_a_hostile_repo_name_is_a_usage_error(name: str, tmp_path: Path) -> None:
    wanted = release(tmp_path / "store")
    repo = RepoTree(repo=name, root=wanted.repos[0].root, tree=wanted.repos[0].tree)
    with pytest.raises(UsageError):
        Release(version="1.0.0", repos=(repo, wanted.repos[1]))
    with pytest.raises(UsageError):
        released(FolderHub(tmp_path), "1.0.0", (name, NVFP4))


@pytest.mark.parametrize("version", ["", "1", "v1.0.0", "../1.0.0", "1.0.0/..", "1.0.0 "])
def test_a_version_is_semver(version: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a version"):
        Release(version=version, repos=release(tmp_path / "store").repos)


def test_trees_of_two_releases_are_not_published_together(tmp_path: Path) -> None:
    one, two = release(tmp_path / "one", body="one"), release(tmp_path / "two", body="two")
    with pytest.raises(PublishError, match="promise different bytes"):
        publish(FolderHub(tmp_path / "hub"), Release(version="1.0.0", repos=(one.repos[0], two.repos[1])))


def test_a_link_in_a_tree_is_refused(tmp_path: Path) -> None:
    wanted = release(tmp_path / "store")
    config = wanted.repos[0].root / "config.json"
    config.rename(tmp_path / "elsewhere.json")
    config.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(PublishError, match="is not a plain file"):
        publish(FolderHub(tmp_path / "hub"), wanted)
