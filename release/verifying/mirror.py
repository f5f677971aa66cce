"""A published checkpoint as a folder of holes: texts and headers whole, tensors where they were read.

Every claim is proved by the code that proves a checkpoint on a disk. What nobody read is a hole,
which takes no space; claims about tensors are asked only of those that were read.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from recipes.formats.checkpoint import SUFFIX, Checkpoint
from recipes.formats.safetensors import LENGTH_BYTES, MAX_HEADER
from release.verifying.published import Published

TEXTS = (".json", ".jinja")
FIRST = 1 << 18
"""Bytes of a shard that are read at once: most headers end before."""

PIECE = 16 << 20


def lay_out(published: Published, folder: Path) -> None:
    """Write texts and headers of the model files of ``published`` to ``folder``, holes for all else.

    Raises ValueError for a shard whose header cannot be as long as it says.
    """
    for path, file in published.model.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            if path.endswith(SUFFIX):
                out.write(_header(published, path, file.size))
            elif path in published.small or path.endswith(TEXTS):
                out.write(published.read(path) or b"")
            out.truncate(file.size)


def spans(checkpoint: Checkpoint, names: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    """Return the ranges (file, begin, end) in which the tensors ``names`` lie, neighbours as one."""
    places = []
    for name in names:
        place = checkpoint.locate(name)
        start = checkpoint.headers[place.file].data_offset
        places.append((place.file, start + place.tensor.begin, start + place.tensor.end))
    merged: list[tuple[str, int, int]] = []
    for file, begin, end in sorted(places):
        if merged and merged[-1][0] == file and merged[-1][2] == begin:
            begin = merged.pop()[1]
        merged.append((file, begin, end))
    return tuple(merged)


def fill(
    published: Published,
    folder: Path,
    wanted: Iterable[tuple[str, int, int]],
    read: Callable[[int], None],
) -> None:
    """Read ranges into the folder; ``read`` is told of bytes done."""
    for file, begin, end in wanted:
        with (folder / file).open("r+b") as out:
            out.seek(begin)
            for at, until in _pieces(begin, end):
                out.write(published.part(file, at, until))
                read(until - at)


def _pieces(begin: int, end: int) -> Iterator[tuple[int, int]]:
    for at in range(begin, end, PIECE):
        yield at, min(at + PIECE, end)


def _header(published: Published, path: str, size: int) -> bytes:
    first = published.part(path, 0, min(FIRST, size)) if size else b""
    if len(first) < LENGTH_BYTES:
        return first
    (length,) = struct.unpack("<Q", first[:LENGTH_BYTES])
    end = LENGTH_BYTES + length
    if length > MAX_HEADER or end > size:
        raise ValueError(f"{path}: expected a header within {size} bytes, got one of {length}")
    return first[:end] if end <= len(first) else first + published.part(path, len(first), end)
