"""Publishing to a remote Hub: what is refused, what is adopted, what is sent."""

import json
import multiprocessing
import multiprocessing.queues
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from release.errors import ConflictError, GraftsmithError, NetworkError, PublishError
from release.hub.intent import Intent
from release.hub.transaction import Release, State, publish
from tests.hub_server.running import READER, TOKEN
from tests.unit.hub.release_trees import manifest
from tests.unit.hub.remote import HASTE, Pair

WRITES = ("PUT", "POST", "DELETE")


def test_both_repos_are_tagged_with_exactly_their_files(pair: Pair) -> None:
    wanted = pair.release()
    outcome = publish(pair.hub(), wanted)
    assert outcome.state is State.PUBLISHED
    pair.check(wanted)
    for repo, published in zip(wanted.repos, outcome.repos, strict=True):
        assert published.where == f"{pair.server.url}/{repo.repo}/tree/v1.0.0"
        assert published.sent == published.size == repo.tree.size
        assert published.sums == repo.tree.files["SHA256SUMS"].sha256


def test_a_finished_release_sends_nothing_even_when_it_was_measured_again(pair: Pair) -> None:
    first = publish(pair.hub(), pair.release())
    start = len(pair.server.asked())
    second = publish(pair.hub(machine="elsewhere"), pair.release(figure=2.7))
    assert second.state is State.ALREADY
    assert [repo.commit for repo in second.repos] == [repo.commit for repo in first.repos]
    assert not [asked for asked in pair.server.asked(start) if asked["method"] in WRITES]


def test_no_file_is_hashed_by_the_client(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("huggingface_hub.lfs.sha_fileobj", lambda file: counted.append(file.name))
    publish(pair.hub(), pair.release())
    assert counted == []
    # The counter counts: the bare client hashes what it is given.
    assert CommitOperationAdd("x", __file__).upload_info.sha256 is None
    assert counted == [__file__]


def test_a_new_version_with_one_changed_small_file_sends_only_that(pair: Pair) -> None:
    publish(pair.hub(), pair.release())
    wanted = pair.release(version="1.1.0", figure=2.8)
    outcome = publish(pair.hub(), wanted)
    changed = ("README.md", "SHA256SUMS", "release.json", "evidence/smoke-nvfp4/evidence.json")
    assert [repo.sent for repo in outcome.repos] == [
        sum(repo.tree.files[path].size for path in changed) for repo in wanted.repos
    ]
    pair.check(wanted, commits=2)
    assert pair.tags(pair.names[0]) == ["v1.0.0", "v1.1.0"]


def test_files_that_are_no_longer_meant_are_deleted_and_the_servers_own_stay(pair: Pair) -> None:
    api = HfApi(endpoint=pair.server.url, token=TOKEN)
    for name in pair.names:
        api.create_commit(name, [CommitOperationAdd("old.txt", b"old")], commit_message="old")
    told: list[Intent] = []
    hub = pair.hub()
    wanted = pair.release()
    publish(type(hub)(endpoint=hub.endpoint, journals=hub.journals, confirm=told.append), wanted)
    assert [repo.deletes for repo in told[0].repos] == [("old.txt",), ("old.txt",)]
    assert told[0].account == "graftsmith"
    assert "old.txt" not in pair.at(pair.names[0], "v1.0.0")
    assert ".gitattributes" in pair.at(pair.names[0], "v1.0.0")


def test_the_same_version_with_other_content_is_a_conflict(pair: Pair) -> None:
    publish(pair.hub(), pair.release())
    start = len(pair.server.asked())
    with pytest.raises(ConflictError, match="already published with other content") as caught:
        publish(pair.hub(machine="elsewhere"), pair.release(body="other"))
    assert caught.value.code == 8
    assert not [asked for asked in pair.server.asked(start) if asked["method"] in WRITES]


def test_a_tag_whose_files_are_not_those_of_its_record_is_a_conflict(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted)
    api, name = HfApi(endpoint=pair.server.url, token=TOKEN), pair.names[1]
    wrong = api.create_commit(name, [CommitOperationAdd("mtp.safetensors", b"0" * 99)], commit_message="x")
    api.delete_tag(name, tag="v1.0.0")
    api.create_tag(name, tag="v1.0.0", revision=wrong.oid)
    with pytest.raises(ConflictError, match=r"holds other files: mtp\.safetensors"):
        publish(pair.hub(), wanted)


def test_a_tag_that_is_no_release_is_left_alone(pair: Pair) -> None:
    HfApi(endpoint=pair.server.url, token=TOKEN).create_tag(pair.names[0], tag="v1.0.0")
    with pytest.raises(ConflictError, match="is there and is no release"):
        publish(pair.hub(), pair.release())
    assert pair.tags(pair.names[1]) == []


def test_a_repo_that_lacks_only_its_tag_gets_only_that(pair: Pair) -> None:
    wanted = pair.release()
    publish(pair.hub(), wanted)
    HfApi(endpoint=pair.server.url, token=TOKEN).delete_tag(pair.names[1], tag="v1.0.0")
    assert publish(pair.hub(), wanted).state is State.PUBLISHED
    pair.check(wanted)


@pytest.mark.parametrize("meddled", [False, True])
def test_what_another_machine_committed_is_adopted_when_it_is_whole(meddled: bool, pair: Pair) -> None:
    pair.server.faults({"method": "POST", "path": "/tag/", "how": "status", "status": 503, "times": 9})
    theirs = pair.release(figure=2.5)
    with pytest.raises(NetworkError):
        publish(pair.hub(HASTE, machine="another"), theirs)
    pair.server.faults()
    api = HfApi(endpoint=pair.server.url, token=TOKEN)
    if meddled:
        card = CommitOperationAdd("README.md", b"---\nlicense: mit\n---\nbetter than it is\n")
        api.create_commit(pair.names[0], [card], commit_message="nicer")
    ours = pair.release(figure=2.7)
    publish(pair.hub(), ours)
    wanted = ours if meddled else theirs
    sums = api.hf_hub_download(pair.names[0], "SHA256SUMS", revision="v1.0.0", cache_dir=pair.root / "c")
    assert Path(sums).read_bytes() == (wanted.repos[0].root / "SHA256SUMS").read_bytes()
    assert len(set(pair.tags(pair.names[0]) + pair.tags(pair.names[1]))) == 1


@pytest.mark.parametrize("signature", ["theirs", ""])
def test_another_signature_of_the_same_tree_is_adopted_and_none_is_not(signature: str, pair: Pair) -> None:
    pair.server.faults({"method": "POST", "path": "/tag/", "how": "status", "status": 503, "times": 9})
    with pytest.raises(NetworkError):
        publish(pair.hub(HASTE, machine="another"), pair.release(signature=signature))
    pair.server.faults()
    outcome = publish(pair.hub(), pair.release(signature="ours"))
    assert [repo.signed for repo in outcome.repos] == [True, True]
    for name in pair.names:
        found = json.loads(pair.server.git(name, "cat-file", "blob", "v1.0.0:model.sig"))
        assert found == {"model.sig": signature or "ours"}
        commits = pair.server.git(name, "rev-list", "--count", "main").strip()
        assert commits == ("2" if signature else "3")
    start = len(pair.server.asked())
    assert publish(pair.hub(), pair.release(signature="again")).state is State.ALREADY
    assert not [asked for asked in pair.server.asked(start) if asked["method"] in WRITES]


def test_a_commit_of_ours_is_tagged_although_main_has_moved_on(pair: Pair) -> None:
    wanted = pair.release()
    pair.server.faults(
        {"method": "POST", "path": f"{pair.names[0]}/tag/", "how": "status", "status": 503, "times": 9}
    )
    with pytest.raises(NetworkError):
        publish(pair.hub(HASTE), wanted)
    pair.server.faults()
    api = HfApi(endpoint=pair.server.url, token=TOKEN)
    api.create_commit(pair.names[0], [CommitOperationAdd("note.txt", b"n")], commit_message="note")
    publish(pair.hub(), wanted)
    assert "note.txt" not in pair.at(pair.names[0], "v1.0.0")
    assert "note.txt" in pair.at(pair.names[0], "main")


def test_a_main_that_moves_meanwhile_stops_the_publish(pair: Pair) -> None:
    hub, wanted = pair.hub(), pair.release()

    def meddle(_: Intent) -> None:
        api = HfApi(endpoint=pair.server.url, token=TOKEN)
        api.create_commit(pair.names[0], [CommitOperationAdd("note.txt", b"n")], commit_message="note")

    with pytest.raises(PublishError, match="main moved while the release was published"):
        publish(type(hub)(endpoint=hub.endpoint, journals=hub.journals, confirm=meddle), wanted)
    assert pair.tags(pair.names[0]) == pair.tags(pair.names[1]) == []
    publish(hub, wanted)
    pair_commits = pair.server.git(pair.names[0], "rev-list", "--count", "main").strip()
    assert pair_commits == "3"


def test_nothing_is_written_when_the_plan_is_not_confirmed(pair: Pair) -> None:
    hub = pair.hub()

    def decline(_: Intent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(type(hub)(endpoint=hub.endpoint, journals=hub.journals, confirm=decline), pair.release())
    assert pair.server.git(pair.names[0], "rev-list", "--count", "main").strip() == "1"


# Two machines at once


def _publish(pair: Pair, wanted: Release, machine: str) -> str:
    try:
        return publish(pair.hub(machine=machine), wanted).state.value
    except GraftsmithError as error:
        return type(error).__name__


def _at_once(pair: Pair, each: dict[str, Release]) -> list[str]:
    """Publish from two machines at once and return what each did."""
    context = multiprocessing.get_context("fork")
    states: multiprocessing.queues.SimpleQueue[str] = context.SimpleQueue()
    machines = [
        context.Process(target=lambda m=machine, w=wanted: states.put(_publish(pair, w, m)))
        for machine, wanted in each.items()
    ]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    return [states.get() for _ in machines]


@pytest.mark.parametrize("attempt", range(3))
def test_two_machines_that_publish_the_same_agree(pair: Pair, attempt: int) -> None:
    wanted = pair.release()
    states = _at_once(pair, {"one": wanted, "two": wanted})
    assert set(states) <= {"published", "already"}
    for name in pair.names:
        assert pair.server.git(name, "rev-list", "--count", "main").strip() == "2"
        assert pair.tags(name) == ["v1.0.0"]


@pytest.mark.parametrize("attempt", range(3))
def test_two_machines_that_publish_different_content_never_mix(pair: Pair, attempt: int) -> None:
    wanted = {body: pair.release(body=body) for body in ("one", "two")}
    states = _at_once(pair, wanted)
    assert states.count("published") <= 1
    assert set(states) <= {"published", "ConflictError", "PublishError"}
    tagged = {pair.record(name, "v1.0.0") for name in pair.names if pair.tags(name)}
    assert len(tagged) <= 1
    # Whoever runs again finishes the release that stands, or is told that it is another one.
    again = [_publish(pair, each, machine) for machine, each in wanted.items()]
    assert sorted(again) in (["ConflictError", "already"], ["ConflictError", "published"])
    assert len({pair.record(name, "v1.0.0") for name in pair.names}) == 1


# Before a byte is sent


def test_without_a_token_nothing_is_tried(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PublishError, match="there is no token") as caught:
        publish(pair.hub(), pair.release())
    assert "HF_TOKEN" in caught.value.hint


def test_a_token_that_can_only_read_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(PublishError, match="can only read"):
        publish(pair.hub(), pair.release())


def test_a_wrong_token_is_told_and_not_repeated(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = TOKEN.replace("Local", "Wrong")
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(PublishError) as caught:
        publish(pair.hub(), pair.release())
    assert "hf auth login" in caught.value.hint
    assert wrong not in str(caught.value) + "".join(capfd.readouterr())


def test_repos_that_are_not_there_are_named_before_anything_is_sent(pair: Pair) -> None:
    absent = Pair(pair.server, "absent", pair.root)
    with pytest.raises(PublishError, match="graftsmith/absent") as caught:
        publish(absent.hub(), absent.release())
    assert "hub-setup" in caught.value.hint


def _altered(pair: Pair, path: str, text: str) -> Release:
    """Return a release into one of whose trees a file was put, with a manifest that knows it."""
    wanted = pair.release()
    repo = wanted.repos[1]
    file = repo.root / path
    file.unlink(missing_ok=True)
    file.write_text(text)
    (repo.root / "SHA256SUMS").unlink()
    (repo.root / "SHA256SUMS").write_text(manifest(repo.root).sums())
    changed = type(repo)(repo=repo.repo, root=repo.root, tree=manifest(repo.root))
    return Release(version=wanted.version, repos=(wanted.repos[0], changed))


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("README.md", "---\nbase_model_relation: cousin\n---\n", "refuses the metadata"),
        ("config.json", json.dumps({"auto_map": {"AutoModel": "x.X"}}), "auto_map"),
        ("tokenizer_config.json", json.dumps({"chat_template": "{{ x }}"}), "holds a chat template beside"),
        ("model.py", "print()", "no release holds such a file"),
        ("weights.pkl", "x", "no release holds such a file"),
        (".env", "x", "no release holds such a file"),
        ("notes.txt", "hf_" + "a" * 34, "holds a Hugging Face token"),
        ("notes.txt", "-----BEGIN PRIVATE KEY-----", "holds a private key"),
    ],
    ids=["card", "auto-map", "template", "code", "pickle", "hidden", "token", "key"],
)
def test_a_tree_that_must_not_be_published_sends_nothing(path: str, text: str, said: str, pair: Pair) -> None:
    wanted = _altered(pair, path, text)
    with pytest.raises(PublishError, match=said) as caught:
        publish(pair.hub(), wanted)
    assert caught.value.code == 12
    assert "a" * 34 not in str(caught.value)
    for name in pair.names:
        assert pair.server.git(name, "rev-list", "--count", "main").strip() == "1"


def test_a_link_and_a_file_beside_the_manifest_are_refused(pair: Pair) -> None:
    wanted = pair.release()
    config = wanted.repos[0].root / "config.json"
    config.rename(pair.root / "elsewhere.json")
    config.symlink_to(pair.root / "elsewhere.json")
    with pytest.raises(PublishError, match="is not a plain file"):
        publish(pair.hub(), wanted)
    config.unlink()
    with pytest.raises(PublishError, match=r"exactly the files of its manifest: config\.json"):
        publish(pair.hub(), wanted)


def test_a_rotten_file_is_not_published(pair: Pair) -> None:
    wanted = pair.release()
    weights = wanted.repos[0].root / "mtp.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"0" * weights.stat().st_size)
    with pytest.raises(PublishError):
        publish(pair.hub(), wanted)
    assert pair.tags(pair.names[0]) == []


def test_neither_journal_nor_output_holds_the_token_or_a_signed_address(
    pair: Pair, capfd: pytest.CaptureFixture[str]
) -> None:
    pair.server.faults({"method": "PUT", "path": "/_lfs/", "how": "status", "status": 403, "times": 99})
    with pytest.raises(PublishError) as caught:
        publish(pair.hub(), pair.release())
    kept = "".join(file.read_text() for file in pair.root.rglob("*.jsonl"))
    assert '"call": "look"' in kept
    said = kept + str(caught.value) + "".join(capfd.readouterr())
    assert TOKEN not in said and "signature=" not in said
