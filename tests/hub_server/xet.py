"""Blobs that came by Xet: the client keeps them in a folder of its own, and this reads what it noted.

A client is told ``local://DIR`` as the store of chunks and writes there itself: chunks, and a shard for
each upload, which names the files. One process at a time: the client locks its folder. Bytes are not put
together here, so a blob that came by Xet is downloaded by Xet alone, not by ranges.

A shard, as hf_xet writes it: a header of 48 bytes, then for each file a record of 48 (hash, flags, number
of entries n), n entries of 48 (bytes at 36), n more with flag 31, and one more with flag 30, which begins
with the sha256. Hashes are four little-endian words.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

RECORD = 48
VERIFIED, NAMED = 1 << 31, 1 << 30
END = b"\xff" * 32


@dataclass(frozen=True, slots=True)
class XetFile:
    """A file in the store of chunks: its Xet hash, and its bytes."""

    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class XetStore:
    """The folder of chunks."""

    folder: Path

    @property
    def url(self) -> str:
        """What a client is told."""
        return f"local://{self.folder}"

    def find(self, sha256: str) -> XetFile | None:
        """Return a file by the sha256 of its bytes, or None when no client sent it."""
        for shard in sorted(self.folder.rglob("shards/*.mdb")):
            if (found := _files(shard.read_bytes()).get(sha256)) is not None:
                return found
        return None

    def chunk_bytes(self) -> int:
        """Return the bytes that all chunks take: what is sent twice is kept once."""
        return sum(path.stat().st_size for path in self.folder.rglob("xorbs/**/default.*") if path.is_file())


def _files(shard: bytes) -> dict[str, XetFile]:
    found: dict[str, XetFile] = {}
    at = RECORD
    while at + RECORD <= len(shard) and (key := shard[at : at + 32]) != END:
        flags, count = struct.unpack_from("<II", shard, at + 32)
        at += RECORD
        size = sum(struct.unpack_from("<I", shard, at + RECORD * entry + 36)[0] for entry in range(count))
        at += RECORD * count * (2 if flags & VERIFIED else 1)
        if flags & NAMED:
            found[_hex(shard[at : at + 32])] = XetFile(_hex(key), size)
            at += RECORD
    return found


def _hex(data: bytes) -> str:
    return "".join(data[word : word + 8][::-1].hex() for word in range(0, 32, 8))
