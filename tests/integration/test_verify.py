"""``invoke verify`` on a real tiny release: on a Hub, in a folder, and when its maker lies.

A liar changes a byte and writes sums and records that fit, so that every digest agrees: only the
bytes themselves, or building them again, tell.
"""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.proofs.subject import of_kind
from recipes.formats.qwen3_5 import Kind
from release.allowlist import CARD
from release.digest import Tree
from release.errors import GraftsmithError, LockError, ProofError, UsageError
from release.hub.huggingface import HuggingFaceHub
from release.hub.transaction import Release, RepoTree, publish
from release.report.terminal import Terminal
from release.verifying.command import Question, verify
from tests.hub_server.running import TOKEN, RunningHub, running
from tests.integration.small import release as small
from tests.unit.hub.release_trees import manifest

PROJECT = Path(__file__).resolve().parents[2]
MASTER = "graftsmith/tiny-cascade"
NVFP4 = "graftsmith/tiny-cascade-NVFP4-MTP"
TAG = "v1.0.0"
BASE, SOURCE = str(PROJECT / "recipes/tiny/base"), str(PROJECT / "recipes/tiny/master")

pytestmark = [pytest.mark.env, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let this module's verifying use a store of a stranger, in which nothing was built."""
    root = tmp_path_factory.mktemp("stranger")
    small.prepare(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFTSMITH_STORE", str(root / "store"))
        yield root


@pytest.fixture
def hub(small_release: small.Finished, stranger: Path, tmp_path: Path) -> Path:
    """Return a copy of the released folder that may be changed."""
    return _copy(small_release.root / "hub", tmp_path / "hub")


@pytest.fixture(scope="module")
def server(
    small_release: small.Finished, stranger: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHub]:
    """Start a Hub that holds the release, and forget the token that put it there."""
    with running(tmp_path_factory.mktemp("server")) as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        for repo in (MASTER, NVFP4):
            HfApi(endpoint=started.url, token=TOKEN).create_repo(repo)
        copy = _copy(small_release.root / "hub", tmp_path_factory.mktemp("copy") / "hub")
        for card in copy.rglob("README.md"):
            card.write_text("---\nlicense: apache-2.0\n---\n")
        _rewrite(copy, lambda record: record)
        trees = tuple(_tree(copy, repo) for repo in (MASTER, NVFP4))
        there = HuggingFaceHub(endpoint=started.url, journals=tmp_path_factory.mktemp("journals"))
        publish(there, Release(version="1.0.0", repos=(trees[0], trees[1])))
        patch.delenv("HF_TOKEN")
        patch.setattr("release.verifying.place.endpoint", lambda: started.url)
        patch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nonexistent")
        yield started


def _copy(hub: Path, target: Path) -> Path:
    shutil.copytree(hub, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def _tree(hub: Path, repo: str) -> RepoTree:
    root = hub / repo / TAG
    return RepoTree(repo=repo, root=root, tree=manifest(root))


def _ask(repo: str, hub: Path | None, **more: object) -> tuple[str, GraftsmithError | None]:
    """Return what was printed, and how it ended."""
    said = io.StringIO()
    question = Question(asked=f"{repo}@{TAG}", hub=hub, **more)  # type: ignore[arg-type]
    try:
        verify(question, Terminal(out=said))
    except GraftsmithError as error:
        return " ".join(said.getvalue().split()), error
    return " ".join(said.getvalue().split()), None


def _lie(hub: Path, repo: str, name: str) -> str:
    """Flip a bit in the middle of a tensor, make all digests fit, and return the changed file."""
    root = hub / repo / TAG
    checkpoint = open_checkpoint(root)
    place = checkpoint.locate(name)
    at = checkpoint.headers[place.file].data_offset + (place.tensor.begin + place.tensor.end) // 2
    data = bytearray((root / place.file).read_bytes())
    data[at] ^= 1
    (root / place.file).write_bytes(data)
    kind = json.loads((root / "release.json").read_text())["kind"]
    files = manifest(root).files
    beside = (*CARD, "release.json", "SHA256SUMS")
    promised = Tree({p: f for p, f in files.items() if p not in beside and not p.startswith("evidence/")})
    _rewrite(hub, lambda record: {**record, "promised": {**record["promised"], kind: promised.digest}})
    return place.file


def _rewrite(hub: Path, change: "Callable[[dict[str, Any]], dict[str, Any]]") -> None:
    for repo in (MASTER, NVFP4):
        root = hub / repo / TAG
        record = change(json.loads((root / "release.json").read_text()))
        (root / "release.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        files = {path: file for path, file in manifest(root).files.items() if path != "SHA256SUMS"}
        (root / "SHA256SUMS").write_text(Tree(files).sums())


@pytest.mark.parametrize("repo", [MASTER, NVFP4])
def test_a_stranger_verifies_on_a_hub_by_ids_and_ranges_alone(repo: str, server: RunningHub) -> None:
    start = len(server.asked())
    said, error = _ask(repo, None)
    assert error is None, said
    assert "not signed" in said
    assert "mtp-bf16" in said and "conv1d-bf16" in said
    blobs = [asked for asked in server.asked(start) if "/_blobs/" in str(asked["path"])]
    assert blobs and all(asked["status"] == 206 for asked in blobs), "ranges only"


def test_bytes_are_read_by_ranges_of_both_sides(server: RunningHub) -> None:
    said, error = _ask(NVFP4, None, bytes=True, against=BASE)
    assert error is None, said
    assert f"of {NVFP4}" in said and f"of master {MASTER}@{TAG}" in said, "what is read is said before"
    held = ("mtp-verbatim-nvfp4", "vision-verbatim-nvfp4", "lm-head-verbatim", "norms-verbatim")
    assert "5 hold" in said and all(name in said for name in held)


def test_an_id_of_the_hub_that_differs_names_its_file(server: RunningHub, hub: Path) -> None:
    root = hub / NVFP4 / TAG
    shard = next(path for path in sorted(root.glob("*.safetensors")))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    api = HfApi(endpoint=server.url, token=TOKEN)
    right = next(tag.target_commit for tag in api.list_repo_refs(NVFP4).tags if tag.name == TAG)
    wrong = api.create_commit(NVFP4, [CommitOperationAdd(shard.name, str(shard))], commit_message="meddle")
    api.delete_tag(NVFP4, tag=TAG)
    api.create_tag(NVFP4, tag=TAG, revision=wrong.oid)
    try:
        said, error = _ask(NVFP4, None)
        assert isinstance(error, ProofError)
        assert "every file is the one of SHA256SUMS" in str(error) and shard.name in said
    finally:
        api.delete_tag(NVFP4, tag=TAG)
        api.create_tag(NVFP4, tag=TAG, revision=right)


@pytest.mark.parametrize(("kind", "claim"), [(Kind.MTP, "mtp-verbatim-nvfp4"), (Kind.NORM, "norms-verbatim")])
def test_a_flipped_byte_that_all_digests_hide_is_found_in_the_bytes(
    kind: Kind, claim: str, hub: Path
) -> None:
    name = of_kind(kind, open_checkpoint(hub / NVFP4 / TAG))[0]
    _lie(hub, NVFP4, name)
    assert _ask(NVFP4, hub)[1] is None, "digests and headers do not tell"
    said, error = _ask(NVFP4, hub, bytes=True, against=BASE)
    assert isinstance(error, ProofError)
    assert claim in str(error)
    assert name in said.replace(" ", ""), "a table folds long names"


def test_the_master_is_held_against_folders(hub: Path) -> None:
    said, error = _ask(MASTER, hub, bytes=True, against=BASE, master=SOURCE)
    assert error is None, said
    assert "5 hold" in said and "vision-verbatim-master" in said


def test_bytes_need_something_to_be_held_against(hub: Path) -> None:
    _, error = _ask(MASTER, hub, bytes=True)
    assert isinstance(error, UsageError)
    assert "--against" in str(error)


def test_building_it_again_gives_the_same_bytes_and_finds_a_lie(hub: Path) -> None:
    said, error = _ask(NVFP4, hub, rebuild=True)
    assert error is None, said
    assert "quantize" in said and "built again, it has the same bytes" in said
    packed = next(n for n in open_checkpoint(hub / NVFP4 / TAG).tensors if n.endswith(".weight_scale"))
    file = _lie(hub, NVFP4, packed)
    said, error = _ask(NVFP4, hub, rebuild=True)
    assert isinstance(error, ProofError)
    assert f"{file} has other bytes" in said
    assert "quantize, run again" in said, "what this store holds already is built once more"


def test_another_lock_is_no_rebuild(hub: Path) -> None:
    _rewrite(hub, lambda record: {**record, "lock": "9" * 64})
    _, error = _ask(MASTER, hub, rebuild=True)
    assert isinstance(error, LockError)
    assert "check out the commit" in str(error)


def test_a_tag_that_is_not_there_says_which_are(hub: Path) -> None:
    with pytest.raises(UsageError, match=r"it has: v1\.0\.0"):
        verify(Question(asked=f"{NVFP4}@v9.9.9", hub=hub), Terminal(out=io.StringIO()))
