"""Repo names: what a Hub accepts, and what could leave a folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.errors import UsageError
from release.reponame import RepoName


@pytest.mark.parametrize("text", ["natfii/Qwen3.6-27B-VLM-Cascade", "a/b", "graftsmith/tiny_1.0-NVFP4"])
def test_a_name_of_the_hub_parses_and_reads_the_same(text: str) -> None:
    assert str(RepoName.parse(text)) == text


HOSTILE = ["", "/", "a", "a/", "/b", "a/b/c", "../b", "a/..", "/etc/passwd", ".a/b", "a/.b", "-a/b", "a/-b"]
HOSTILE += ["a/b.", "a/b--c", "a/b..c", "a\\b/c", "a/b\n", "a /b", "a/b;c", "a/$(id)", "ä/b", "a/" + "b" * 97]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a repo name"):
        RepoName.parse(text)


@given(st.text(alphabet="ab/.-_\\~ \n0", max_size=12))
def test_a_name_that_parses_stays_two_folders_below_the_root(text: str) -> None:
    try:
        name = RepoName.parse(text)
    except UsageError:
        return
    path = Path("/hub", name.owner, name.name)
    assert path.parts == ("/", "hub", name.owner, name.name)
    assert not name.owner.startswith((".", "-"))
    assert Path(path).resolve().parent.parent == Path("/hub")
