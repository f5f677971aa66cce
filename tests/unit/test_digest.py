"""Digests and trees."""

import subprocess
from pathlib import Path

import pytest

from release.digest import File, Tree, canonical_json, sha256_bytes, sha256_file


def test_a_tree_digest_can_be_checked_with_coreutils(tmp_path: Path) -> None:
    for name in ("b.json", "a/deep.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    tree = Tree({name: File(sha256_file(tmp_path / name), len(name)) for name in ("b.json", "a/deep.txt")})
    (tmp_path / "SHA256SUMS").write_text(tree.sums())
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True)
    done = subprocess.run(
        ["sha256sum", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.split()[0] == tree.digest


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/../b", "", ".", "a\\b", "a\nb", "a/./b", "x\x7f", "x\udcff"]
)
def test_a_hostile_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="plain relative path"):
        Tree({path: File("0" * 64, 1)})


def test_a_manifest_survives_json() -> None:
    tree = Tree({"a": File(sha256_bytes(b"a"), 1), "b/c": File(sha256_bytes(b"bc"), 2)})
    assert Tree.from_json(tree.to_json()) == tree
    assert tree.size == 3


@pytest.mark.parametrize("data", [[], {"a": {"sha256": 1, "size": 1}}, {"a": {"sha256": "0"}}])
def test_a_lying_manifest_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        Tree.from_json(data)


def test_canonical_json_is_one_encoding() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"é"],"b":1}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
