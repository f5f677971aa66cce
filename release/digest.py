"""Digests: canonical JSON, sha256 of bytes and files, the digest of a tree.

A tree's digest is the sha256 of its SHA256SUMS text, so anybody can check one with
coreutils: ``sha256sum -c SHA256SUMS && sha256sum SHA256SUMS``.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CHUNK = 1 << 20
HEX = re.compile(r"[0-9a-f]{64}")
SMALL = 1 << 20
"""Bytes below which files are hashed one after the other: a thread would cost more."""


def canonical_json(value: object) -> bytes:
    """Return the one JSON encoding of ``value``: sorted keys, no spaces, no NaN, UTF-8."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_bytes(data: bytes) -> str:
    """Return the hex sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


class Counter:
    """Bytes of files that this process has hashed: what ``each byte once`` is measured by."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        """Add bytes, from any thread."""
        with self._lock:
            self.bytes += count


hashed = Counter()


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file; its pages are dropped from the page cache after.

    On a unified-memory machine the page cache and the GPU share one pool.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        hashed.add(file.tell())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def sha256_files(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the hex sha256 of each file in order, large ones hashed on all cores at once.

    What the caller does between two of them (flush one to the disk) overlaps with hashing.
    """
    if sum(path.stat().st_size for path in paths) < SMALL:
        yield from map(sha256_file, paths)
        return
    from concurrent.futures import ThreadPoolExecutor  # a no-op does not pay for it

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(sha256_file, paths)


@dataclass(frozen=True, slots=True, order=True)
class File:
    """One file of a tree: its digest (hex sha256) and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Files by relative POSIX path. Modes, times and empty folders do not count."""

    files: Mapping[str, File]

    def __post_init__(self) -> None:
        for path in self.files:
            check_path(path)

    @property
    def digest(self) -> str:
        """The hex sha256 of ``sums()``."""
        return sha256_bytes(self.sums().encode())

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())

    def sums(self) -> str:
        """Return the SHA256SUMS text, sorted by path, as coreutils reads it."""
        return "".join(f"{file.sha256}  {path}\n" for path, file in sorted(self.files.items()))

    def to_json(self) -> dict[str, dict[str, str | int]]:
        """Return the manifest: path → sha256 and size."""
        return {path: {"sha256": f.sha256, "size": f.size} for path, f in sorted(self.files.items())}

    @classmethod
    def from_json(cls, data: object) -> "Tree":
        """Parse a manifest. Raises ValueError when it is not one."""
        if not isinstance(data, dict):
            raise ValueError("expected a table of files")
        files: dict[str, File] = {}
        for path, entry in data.items():
            match entry:
                case {"sha256": str(sha), "size": int(size)} if HEX.fullmatch(sha) and size >= 0:
                    files[path] = File(sha, size)
                case _:
                    raise ValueError(f"{path!r}: expected sha256 and size")
        return cls(files)


def parse_sums(text: str) -> dict[str, str]:
    """Return path → sha256 of a SHA256SUMS text: a line is the digest, two spaces, the path."""
    lines = (line.partition("  ") for line in text.splitlines())
    return {path: digest for digest, _, path in lines if path}


def check_path(path: str) -> None:
    """Refuse a path that could leave its folder or break a SHA256SUMS line.

    Raises ValueError for an absolute path, ``..``, an empty part, a backslash, a
    control character or a name that is not UTF-8.
    """
    parts = PurePosixPath(path).parts
    bad = (
        not path
        or path.startswith("/")
        or ".." in parts
        or "/".join(parts) != path
        or "\\" in path
        or any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in path)
    )
    if bad:
        raise ValueError(f"{path!r} is not a plain relative path")
