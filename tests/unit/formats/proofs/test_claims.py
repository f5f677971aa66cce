"""The claims as a whole: named once, told in docs/proofs.md, never held by an empty tree, headers first."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.formats.checkpoint import Checkpoint
from recipes.formats.proofs import proving
from recipes.formats.proofs.claim import Status, prove
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.subject import Subject
from recipes.formats.step import Workdir
from recipes.steps.prove.inputs import read_subject
from tests.unit.steps.scratch import REPOSITORY
from tests.unit.steps.synthetic import Release, build_release, rewrite

# About files beside the weights, or about dtypes of nothing that a config implies.
OF_FILES = {
    "same-config",
    "same-interface",
    "one-chat-template",
    "chat-template-locked",
    "index-totals",
    "no-code",
    "configs-agree",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


def subject_of(release: Release, root: Path) -> Subject:
    (root / "in").mkdir(parents=True)
    for name, folder in release.inputs().items():
        (root / "in" / name).symlink_to(folder)
    return read_subject(Workdir(root, release.params))


@pytest.fixture
def subject(sound: Release, tmp_path: Path) -> Subject:
    return subject_of(sound, tmp_path / "work")


def test_every_claim_has_a_name_of_its_own_and_says_what_is_compared(subject: Subject) -> None:
    claims = [*proving.of_headers(subject), *proving.of_bytes(subject)]
    names = [claim.name for claim in claims]
    assert len(names) == len(set(names)) >= 30
    assert all(claim.compared for claim in claims)


def test_the_page_about_proofs_lists_each_of_them(subject: Subject) -> None:
    rows = [
        line
        for line in (REPOSITORY / "docs" / "proofs.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    told = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    assert told == {claim.name for claim in (*proving.of_headers(subject), *proving.of_bytes(subject))}


def test_the_first_part_reads_no_tensor(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> bytes:
        raise AssertionError(f"a tensor was read: {given[1:]}")

    for way in ("read", "part", "chunks"):
        monkeypatch.setattr(Checkpoint, way, refuse)
    outcomes = [prove(claim) for claim in proving.of_headers(subject)]
    assert {outcome.status for outcome in outcomes} == {Status.HOLDS}


@pytest.mark.parametrize("trees", [("nvfp4",), ("release_master",), ("nvfp4", "release_master")])
def test_no_claim_about_tensors_holds_of_a_tree_without_them(
    sound: Release, tmp_path: Path, trees: tuple[str, ...]
) -> None:
    release = sound.copy(tmp_path / "release")
    for tree in trees:
        rewrite(getattr(release, tree), lambda _: {"stranger": ("BF16", (1,), b"\0\0")})
    proved = proving.prove_all(subject_of(release, tmp_path / "work"))
    kind = {"nvfp4": "nvfp4", "release_master": "master"}
    left = {kind[tree] for tree in kind if tree not in trees}
    held = {outcome.name for outcome in proved.of(Status.HOLDS)} - OF_FILES
    # What holds is of the other tree alone.
    of_other = {name for name in held if name.endswith(tuple(f"-{name}" for name in left)) and left}
    of_body = {
        "nvfp4-body",
        "in-proj-ab",
        "nvfp4-four-tensors",
        "ignore-list-vllm",
        "ignore-list-sglang",
        "ignore-list-shortest",
        "unpacked-verbatim",
        "scales-finite-positive",
        "one-scale-per-fused-group",
        "input-scales-calibrated",
        "repack",
        "relative-error",
    }
    allowed = (of_body if "nvfp4" in left else set()) | ({"master-verbatim"} if "master" in left else set())
    assert held <= of_other | allowed


@pytest.mark.parametrize("depth", Depth)
def test_the_quick_look_holds_what_the_full_one_holds(sound: Release, tmp_path: Path, depth: Depth) -> None:
    subject = replace(subject_of(sound, tmp_path / "work"), comparer=Comparer(depth))
    proved = proving.prove_all(subject)
    assert len(proved.of(Status.HOLDS)) == len(proved.outcomes)
    assert proved.facts["depth"] == depth


def test_progress_names_each_claim_and_counts_bytes(sound: Release, tmp_path: Path) -> None:
    told: list[tuple[str, int, int, str]] = []
    subject = replace(subject_of(sound, tmp_path / "work"), told=lambda *at: told.append(at))
    proved = proving.prove_all(subject)
    assert [at for at, *_, unit in told if unit == "claims"] == [o.name for o in proved.outcomes]
    assert [(done, total) for at, done, total, unit in told if unit == "B"][-1][0] > 0
