"""A header is believed only where the file bears it out."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.formats.safetensors import (
    ITEM_BYTES,
    METADATA_KEY,
    Entry,
    SafetensorsError,
    iter_tensor,
    parse_header,
    read_header,
    read_tensor,
    write,
)

GOOD: Mapping[str, object] = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="./\\"), min_size=1
).filter(lambda name: name != METADATA_KEY)
tensors = st.dictionaries(names, st.tuples(st.sampled_from(sorted(ITEM_BYTES)), shapes), max_size=5)


def parse(table: object, data: int = 8) -> None:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    parse_header(text, "a.safetensors", 8 + len(text) + data)


@given(tensors)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, tuple[str, tuple[int, ...]]]
) -> None:
    path = tmp_path_factory.mktemp("t") / "a.safetensors"
    data = {}
    for number, (name, (dtype, shape)) in enumerate(wanted.items()):
        size = ITEM_BYTES[dtype]
        for side in shape:
            size *= side
        data[name] = bytes([number + 1]) * size
    write(path, [Entry(name, *wanted[name], chunks=[data[name]]) for name in wanted])
    header = read_header(path)
    assert header.data_offset % 8 == 0
    assert {name: (t.dtype, t.shape) for name, t in header.tensors.items()} == wanted
    assert {name: read_tensor(path, header, name) for name in wanted} == data


@given(st.binary(max_size=64))
def test_noise_is_refused_with_the_one_error(noise: bytes) -> None:
    with pytest.raises(SafetensorsError):
        parse_header(noise, "a.safetensors", 8 + len(noise) + 1)


@settings(max_examples=40)
@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_any_json_is_parsed_or_refused_with_the_one_error(entry: object) -> None:
    with pytest.raises(SafetensorsError, match=r"a\.safetensors: "):
        parse({"t": entry})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "F4"}, "t: expected a dtype"),
        ({"dtype": ["BF16"]}, "t: expected a dtype"),
        ({"shape": [2, 3]}, "expected 12 bytes for BF16"),
        ({"shape": [-2, -2]}, "t: shape"),
        ({"shape": [True, 4]}, "t: shape"),
        ({"shape": [2.0, 2]}, "t: shape"),
        ({"shape": 4}, "t: shape"),
        ({"data_offsets": [0]}, "data_offsets"),
        ({"data_offsets": [8, 0]}, "data_offsets"),
        ({"data_offsets": [-8, 0]}, "data_offsets"),
        ({"data_offsets": [8, 16]}, "gap"),
        ({"more": 1}, "dtype, shape and data_offsets"),
    ],
)
def test_a_lying_entry_is_named(change: dict[str, object], words: str) -> None:
    parse({"t": GOOD})
    with pytest.raises(SafetensorsError, match=words):
        parse({"t": {**GOOD, **change}})


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a\nb", "a\x00b", "a\\b", "x" * 2000, "\u202eb"]
)
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(SafetensorsError, match="tensor name"):
        parse({name: GOOD})


def test_overlap_and_data_beyond_or_left_over_are_refused() -> None:
    with pytest.raises(SafetensorsError, match="overlap"):
        parse({"t": GOOD, "u": {**GOOD, "data_offsets": [4, 12]}}, data=12)
    with pytest.raises(SafetensorsError, match="expected 8 bytes of tensors, got 7"):
        parse({"t": GOOD}, data=7)
    with pytest.raises(SafetensorsError, match="expected 8 bytes of tensors, got 9"):
        parse({"t": GOOD}, data=9)


@pytest.mark.parametrize(
    "text",
    [
        b'{"t": 1, "t": 1}',
        b'{"t": {"dtype": "U8", "dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}',
        b"[]",
        b"{",
        b'{"a": NaN}',
        b'{"__metadata__": {"a": 1}}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"\xff": 1}',
    ],
)
def test_bad_json_is_refused(text: bytes) -> None:
    with pytest.raises(SafetensorsError, match=r"header|metadata"):
        parse(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "header size: expected 8 bytes"),
        (b"\0" * 7, "header size: expected 8 bytes"),
        (struct.pack("<Q", 1 << 62) + b"{}", "header size: expected at most 2 bytes"),
        (struct.pack("<Q", 200_000_000) + b"{}", "header size"),
        (struct.pack("<Q", 2) + b"[]", "begin with"),
    ],
)
def test_a_lie_about_the_header_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(SafetensorsError, match=words):
        read_header(path)


def test_a_header_past_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 150_000_000))
        file.truncate(200_000_000)  # sparse
    with pytest.raises(SafetensorsError, match="at most 100000000"):
        read_header(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SafetensorsError, match=r"gone\.safetensors"):
        read_header(tmp_path / "gone.safetensors")


def test_tensors_are_read_in_pieces_and_a_shrunk_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path, [Entry("t", "U8", (10,), [b"01234", b"56789"])])
    header = read_header(path)
    assert list(iter_tensor(path, header, "t", chunk=4)) == [b"0123", b"4567", b"89"]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SafetensorsError, match="end of file"):
        read_tensor(path, header, "t")
    with pytest.raises(SafetensorsError, match="u: expected a tensor"):
        read_tensor(path, header, "u")


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("t", "U8", (2,), [b"1"])],
        [Entry("t", "U8", (1,), [b"1", b"2"])],
        [Entry("t", "U7", (1,), [b"1"])],
        [Entry("t", "U8", (1,), [b"1"]), Entry("t", "U8", (1,), [b"1"])],
        [Entry("../t", "U8", (1,), [b"1"])],
        [Entry("__metadata__", "U8", (1,), [b"1"])],
    ],
)
def test_a_file_that_would_be_refused_is_not_written(tmp_path: Path, entries: list[Entry]) -> None:
    with pytest.raises(SafetensorsError):
        write(tmp_path / "a.safetensors", entries)


def test_equal_entries_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, [Entry("t", "U8", (2,), [b"1", b"2"])], {"z": "1", "format": "pt"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
