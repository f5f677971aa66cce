"""Index and shards of a checkpoint must tell the same story."""

import json
from pathlib import Path

import pytest

from recipes.formats.checkpoint import (
    INDEX_FILE,
    SINGLE_FILE,
    CheckpointError,
    open_checkpoint,
    parse_index,
    shard_name,
    write_index,
)
from recipes.formats.safetensors import Entry, write

A, B = shard_name(1, 2), shard_name(2, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / A, [Entry("x", "U8", (2,), [b"ab"]), Entry("y", "U8", (), [b"c"])])
    write(tmp_path / B, [Entry("z", "F32", (1,), [b"defg"])])
    write_index(tmp_path / INDEX_FILE, {"z": B, "y": A, "x": A}, 7)
    return tmp_path


def test_tensors_are_found_in_their_shards(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert {name: place.file for name, place in checkpoint.tensors.items()} == {"x": A, "y": A, "z": B}
    assert checkpoint.read("z") == b"defg"
    assert b"".join(checkpoint.chunks("x")) == b"ab"
    assert checkpoint.data_bytes == 7
    assert checkpoint.index is not None and checkpoint.index.total_size == 7


def test_a_single_file_needs_no_index(tmp_path: Path) -> None:
    write(tmp_path / SINGLE_FILE, [Entry("x", "U8", (1,), [b"a"])])
    assert open_checkpoint(tmp_path).read("x") == b"a"
    with pytest.raises(CheckpointError, match="gone"):
        open_checkpoint(tmp_path).read("gone")


def test_missing_and_stray_shards_are_named(folder: Path) -> None:
    (folder / B).rename(folder / "other.safetensors")
    with pytest.raises(CheckpointError, match=f"{B}: expected this shard"):
        open_checkpoint(folder)
    (folder / "other.safetensors").rename(folder / B)
    write(folder / "sidecar.safetensors", [])
    with pytest.raises(CheckpointError, match=r"sidecar\.safetensors"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"x": A, "z": B}, f"y: expected in None, got it in {A}"),
        ({"x": A, "y": A, "z": B, "w": B}, f"w: expected in {B}, got it in None"),
        ({"x": B, "y": A, "z": B}, f"x: expected in {B}, got it in {A}"),
    ],
)
def test_an_index_that_disagrees_is_named(folder: Path, weight_map: dict[str, str], words: str) -> None:
    write_index(folder / INDEX_FILE, weight_map, 7)
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(folder)


def test_a_tensor_in_two_shards_is_named(folder: Path) -> None:
    write(folder / B, [Entry("x", "U8", (1,), [b"a"])])
    with pytest.raises(CheckpointError, match=f"{B}: x lies in {A} as well"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "file",
    [
        "../a.safetensors",
        "/a.safetensors",
        "sub/a.safetensors",
        "a\\b.safetensors",
        ".a.safetensors",
        "a.bin",
        "",
        3,
    ],
)
def test_a_shard_name_that_is_no_plain_file_is_refused(file: object) -> None:
    with pytest.raises(CheckpointError, match="x: expected the name of a shard"):
        parse_index(json.dumps({"weight_map": {"x": file}}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}, "weight_map": {}}',
        '{"weight_map": {"x": "a", "x": "b"}}',
    ],
)
def test_a_bad_index_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match=INDEX_FILE):
        parse_index(text)


@pytest.mark.parametrize(
    ("total", "read"), [("7", 7), ("7.0", 7), ("7.5", None), ("1e999", None), ('"7"', None), ("true", None)]
)
def test_totals_are_whole_numbers_or_none(total: str, read: int | None) -> None:
    assert parse_index(f'{{"metadata": {{"total_size": {total}}}, "weight_map": {{}}}}').total_size == read
