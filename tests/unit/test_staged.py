"""What is promoted is what was staged from this store, tree for tree."""

import shutil
from pathlib import Path

import pytest

from release import line as lines
from release import staged
from release.hub.transaction import Release, RepoTree
from release.line import Line
from tests.unit import mini_line
from tests.unit.hub.release_trees import release

ASSEMBLED = {"assemble-master": "a" * 64, "assemble-nvfp4": "b" * 64}


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("GRAFTSMITH_STORE", str(tmp_path / "store"))
    return lines.open_line(str(mini_line.make(tmp_path / "line")))


def _made(line: Line, root: Path, body: str) -> Release:
    """Return a release whose trees are in the line's store."""
    repos = line.recipe.repos
    made = release(root, body=body, names=(repos.master, repos.nvfp4))
    with line.store.running():
        master, nvfp4 = (_stored(line, repo) for repo in made.repos)
    return Release(version=made.version, repos=(master, nvfp4))


def _stored(line: Line, repo: RepoTree) -> RepoTree:
    digest = line.store.ingest(repo.root, repo.tree)
    return RepoTree(repo=repo.repo, root=line.store.folder(digest, "made"), tree=repo.tree)


def _trees(found: Release | None) -> list[str]:
    return [repo.tree.digest for repo in found.repos] if found else []


def test_what_comes_out_otherwise_each_time_is_staged_once(line: Line, tmp_path: Path) -> None:
    assert staged.recall(line, "1.0.0") is None
    first, again = _made(line, tmp_path / "1", "one"), _made(line, tmp_path / "2", "two")
    assert staged.settle(line, "1.0.0", ASSEMBLED, first) is first
    assert _trees(staged.settle(line, "1.0.0", ASSEMBLED, again)) == _trees(first)
    assert _trees(staged.recall(line, "1.0.0")) == _trees(first)
    other = {**ASSEMBLED, "assemble-nvfp4": "c" * 64}
    assert staged.settle(line, "1.0.0", other, again) is again
    assert _trees(staged.recall(line, "1.0.0")) == _trees(again)
    assert staged.recall(line, "1.1.0") is None


def test_a_note_that_was_cut_short_or_whose_trees_are_gone_is_none(line: Line, tmp_path: Path) -> None:
    made = _made(line, tmp_path / "1", "one")
    staged.settle(line, "1.0.0", ASSEMBLED, made)
    note = next((tmp_path / "store").rglob("publishing/staged/*.json"))
    whole = note.read_text()
    note.write_text(whole[:-9])
    assert staged.recall(line, "1.0.0") is None
    note.write_text(whole)
    shutil.rmtree(tmp_path / "store" / "trees")
    assert staged.recall(lines.open_line(str(line.recipe.folder)), "1.0.0") is None
