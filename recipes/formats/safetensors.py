"""The safetensors container: headers read with suspicion, tensors moved as raw bytes.

    8 bytes   N, unsigned, little-endian
    N bytes   JSON: {"__metadata__": {...}, "<name>": {"dtype", "shape", "data_offsets"}}
    the rest  the tensors' bytes, back to back, offsets relative to this point

    header = read_header(path)
    bias = read_tensor(path, header, "model.norm.weight")

A checkpoint is downloaded from strangers, so nothing in a header is believed before it
is compared with the file: https://github.com/huggingface/safetensors#format
"""

import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recipes.formats import strict_json
from recipes.formats.regular import open_regular

CHUNK = 8 << 20
LENGTH_BYTES = 8
MAX_HEADER = 100 * 1000 * 1000
MAX_NAME = 1024
METADATA_KEY = "__metadata__"

ITEM_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}


class SafetensorsError(ValueError):
    """A file that is not what safetensors promises; names file, key, expected and got."""

    def __init__(self, file: str, key: str, expected: str, got: object) -> None:
        super().__init__(f"{file}: {key}: expected {expected}, got {str(got)[:200]}")
        self.file = file
        self.key = key


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a header. ``begin`` and ``end`` are byte offsets into the data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """The bytes of the tensor."""
        return self.end - self.begin

    @property
    def items(self) -> int:
        """The number of stored items; 1 for a scalar."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header. ``data_offset`` is where the data section begins in the file."""

    file: str
    data_offset: int
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]

    @property
    def data_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to write: ``chunks`` yields its bytes in order, as many as shape and dtype say."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Iterable[bytes]


def read_header(path: Path) -> Header:
    """Read and check the header of file ``path``; no tensor byte is read.

    Raises SafetensorsError when header and file do not agree.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            return parse_header(_read_header_bytes(file, path.name, size), path.name, size)
    except OSError as error:
        raise SafetensorsError(path.name, "file", "a readable file", error.strerror) from error


def parse_header(text: bytes, file: str, size: int) -> Header:
    """Parse header JSON ``text`` of a file called ``file`` with ``size`` bytes in all.

    Raises SafetensorsError for bad JSON, duplicate keys, unknown dtypes, bad shapes or
    names, and for tensors that overlap, leave gaps or do not fill the file exactly.
    """
    try:
        table = strict_json.loads_table(text, "header")
    except ValueError as error:
        raise SafetensorsError(file, "header", "a JSON table", error) from error
    metadata = _parse_metadata(table.pop(METADATA_KEY, {}), file)
    tensors = {name: _parse_tensor(name, entry, file) for name, entry in table.items()}
    data_offset = LENGTH_BYTES + len(text)
    _check_cover(tensors.values(), file, size - data_offset)
    return Header(file, data_offset, metadata, tensors)


def iter_tensor(path: Path, header: Header, name: str, chunk: int = CHUNK) -> Iterator[bytes]:
    """Yield the bytes of tensor ``name`` in pieces of at most ``chunk`` bytes.

    Raises SafetensorsError when the tensor is not in the header or the file ends early.
    """
    tensor = header.tensors.get(name)
    if tensor is None:
        raise SafetensorsError(header.file, name, "a tensor of this name", "none")
    left = tensor.nbytes
    with path.open("rb") as file:
        file.seek(header.data_offset + tensor.begin)
        while left:
            piece = file.read(min(left, chunk))
            if not piece:
                raise SafetensorsError(header.file, name, f"{left} more bytes", "end of file")
            left -= len(piece)
            yield piece


def read_part(path: Path, header: Header, name: str, begin: int, end: int) -> bytes:
    """Return bytes ``begin`` to ``end`` of tensor ``name``.

    Raises SafetensorsError when there are none, or when the file ends early.
    """
    tensor = header.tensors.get(name)
    if tensor is None or not 0 <= begin <= end <= tensor.nbytes:
        raise SafetensorsError(header.file, name, f"bytes {begin} to {end} of a tensor of this name", "none")
    with path.open("rb", buffering=0) as file:
        file.seek(header.data_offset + tensor.begin + begin)
        data = file.read(end - begin)
    if len(data) != end - begin:
        raise SafetensorsError(header.file, name, f"{end - begin} bytes", f"{len(data)}, then end of file")
    return data


def read_tensor(path: Path, header: Header, name: str) -> bytes:
    """Return the raw bytes of tensor ``name``, row-major and little-endian."""
    return b"".join(iter_tensor(path, header, name))


def write(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``entries``, in their order, as one file; chunks are streamed.

    The header is padded with spaces so that the data begins at a multiple of 8. Equal
    entries give equal bytes. Raises SafetensorsError when a tensor's chunks are not as
    many bytes as its shape and dtype say, or when a name is given twice.
    """
    start = header_bytes(entries, path.name, metadata)
    with path.open("wb") as file:
        file.write(start)
        for entry in entries:
            _write_entry(file, entry, path.name)


def header_bytes(entries: Sequence[Entry], file: str, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes before the data of a file of ``entries``: the header and its length.

    No chunk is taken. Raises SafetensorsError for a hostile or repeated name.
    """
    table: dict[str, object] = {METADATA_KEY: dict(sorted((metadata or {"format": "pt"}).items()))}
    at = 0
    for entry in entries:
        _check_name(entry.name, file)
        if entry.name in table:
            raise SafetensorsError(file, entry.name, "one tensor of this name", "two")
        end = at + _nbytes(entry, file)
        table[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [at, end]}
        at = end
    text = strict_json.compact(table)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _read_header_bytes(file: BinaryIO, name: str, size: int) -> bytes:
    raw = file.read(LENGTH_BYTES)
    if len(raw) < LENGTH_BYTES:
        raise SafetensorsError(name, "header size", f"{LENGTH_BYTES} bytes", len(raw))
    (length,) = struct.unpack("<Q", raw)
    room = min(MAX_HEADER, size - LENGTH_BYTES)
    if length > room:
        raise SafetensorsError(name, "header size", f"at most {room} bytes", length)
    text = file.read(length)
    if len(text) != length or not text.startswith(b"{"):
        raise SafetensorsError(name, "header", f"{length} bytes that begin with '{{'", text[:16])
    return text


def _parse_metadata(value: object, file: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise SafetensorsError(file, METADATA_KEY, "a table of strings", value)
    return value


def _parse_tensor(name: str, entry: object, file: str) -> Tensor:
    _check_name(name, file)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(file, name, "dtype, shape and data_offsets", entry)
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise SafetensorsError(file, name, f"a dtype of {', '.join(ITEM_BYTES)}", dtype)
    shape = _counts(entry["shape"], file, f"{name}: shape")
    offsets = _counts(entry["data_offsets"], file, f"{name}: data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise SafetensorsError(file, f"{name}: data_offsets", "begin and end", offsets)
    tensor = Tensor(name, dtype, shape, *offsets)
    expected = tensor.items * ITEM_BYTES[dtype]
    if tensor.nbytes != expected:
        raise SafetensorsError(file, name, f"{expected} bytes for {dtype} {list(shape)}", tensor.nbytes)
    return tensor


def _check_name(name: str, file: str) -> None:
    hostile = (
        not name
        or len(name) > MAX_NAME
        or name.startswith("/")
        or "\\" in name
        or ".." in name
        or not name.isprintable()
    )
    if hostile:
        raise SafetensorsError(file, "tensor name", "printable, without '..' or a leading '/'", repr(name))


def _counts(value: object, file: str, key: str) -> tuple[int, ...]:
    # bool is an int to Python, not to JSON's author.
    if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 1 << 63 for item in value):
        raise SafetensorsError(file, key, "a list of whole numbers from 0", value)
    return tuple(value)


def _check_cover(tensors: Iterable[Tensor], file: str, room: int) -> None:
    """Check that the tensors fill the data section: no overlap, no gap, nothing beyond."""
    at = 0
    for tensor in sorted(tensors, key=lambda t: (t.begin, t.end)):
        if tensor.begin != at:
            flaw = "overlap" if tensor.begin < at else "gap"
            raise SafetensorsError(file, tensor.name, f"data from byte {at}", f"{tensor.begin} ({flaw})")
        at = tensor.end
    if at != room:
        raise SafetensorsError(file, "data", f"{at} bytes of tensors", f"{room} bytes in the file")


def _nbytes(entry: Entry, file: str) -> int:
    if entry.dtype not in ITEM_BYTES:
        raise SafetensorsError(file, entry.name, "a known dtype", entry.dtype)
    return math.prod(entry.shape) * ITEM_BYTES[entry.dtype]


def _write_entry(file: BinaryIO, entry: Entry, name: str) -> None:
    expected, written = _nbytes(entry, name), 0
    for chunk in entry.chunks:
        written += file.write(chunk)
    if written != expected:
        raise SafetensorsError(name, entry.name, f"{expected} bytes", written)
