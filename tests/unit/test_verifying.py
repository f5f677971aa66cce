"""What ``invoke verify`` says of a published repo, and of one that somebody changed."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from release.digest import sha256_bytes
from release.hub.files import RemoteFile
from release.verifying.checks import check
from release.verifying.published import Published
from tests.unit.attesting import keys

WEIGHTS = b"weights"


def _published(version: str = "1.0.0") -> Published:
    return _of(keys.files(version))


def _of(files: Mapping[str, bytes]) -> Published:
    there = {
        path: RemoteFile(
            size=len(data),
            git_oid="0" * 40,
            sha256=sha256_bytes(data) if path.endswith(".safetensors") else None,
        )
        for path, data in files.items()
    }
    small = {path: data for path, data in files.items() if not path.endswith(".safetensors")}
    return Published(repo="owner/name", tag="v1.0.0", commit="c" * 40, there=there, small=small)


def _failed(published: Published) -> list[str]:
    return [found.name for found in check(published) if not found.holds]


def test_a_release_holds() -> None:
    assert [found.holds for found in check(_published())] == [True] * 4


def test_other_weights_are_found_without_reading_them() -> None:
    whole = _published()
    other = replace(whole.there["model.safetensors"], sha256="9" * 64)
    changed = replace(whole, there={**whole.there, "model.safetensors": other})
    assert _failed(changed) == ["every file is the one of SHA256SUMS", "the promised bytes are there"]


def test_other_weights_with_sums_that_fit_break_the_promise() -> None:
    whole = _published()
    other = replace(whole.there["model.safetensors"], sha256="9" * 64)
    sums = whole.small["SHA256SUMS"].decode().replace(sha256_bytes(WEIGHTS), "9" * 64).encode()
    changed = replace(
        whole,
        there={**whole.there, "model.safetensors": other},
        small={**whole.small, "SHA256SUMS": sums},
    )
    assert _failed(changed) == ["the promised bytes are there"]


@pytest.mark.parametrize("path", ["modeling.py", "weights.bin"])
def test_a_file_that_was_added_is_named(path: str) -> None:
    whole = _published()
    added = RemoteFile(size=1, git_oid="0" * 40, sha256=None)
    changed = replace(whole, there={**whole.there, path: added}, small={**whole.small, path: b"x"})
    assert path in next(check(changed)).found
    assert "loading it runs no file of it" in _failed(changed)


def test_a_record_of_another_version_is_told() -> None:
    assert _failed(_published(version="2.0.0")) == ["the record is of this repo and version"]


def test_a_repo_without_sums_and_record_is_no_release() -> None:
    assert _failed(_of({"README.md": b"# x"})) == [
        "every file is the one of SHA256SUMS",
        "the record is of this repo and version",
    ]
