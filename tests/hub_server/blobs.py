"""LFS blobs on disk, named by their sha256 and shared by all repos: ``lfs/ab/cd/<sha256>``."""

import hashlib
import os
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

from tests.hub_server.wire import CHUNK, RefusedError


class Blobs:
    """Content-addressed files. A blob appears by one rename, when its bytes have the right digest."""

    def __init__(self, root: Path) -> None:
        self._root = root / "lfs"
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        """Return where a blob lies, whether it is there or not."""
        return self._root / sha256[:2] / sha256[2:4] / sha256

    def size(self, sha256: str) -> int | None:
        """Return a blob's size, or None when it is not here."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, sha256: str, pieces: Iterable[bytes]) -> None:
        """Take a whole blob. Raises RefusedError when its bytes have another digest."""
        partial = self._incoming / uuid.uuid4().hex
        found = _write(partial, pieces)
        if found != sha256:
            partial.unlink()
            raise RefusedError(400, f"the bytes have sha256 {found}, not {sha256}")
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)  # noqa: PTH105

    def put_part(self, sha256: str, number: int, pieces: Iterable[bytes]) -> str:
        """Take one part of a blob and return its ETag."""
        partial = self._incoming / uuid.uuid4().hex
        etag = _write(partial, pieces)[:32]
        os.replace(partial, self._part(sha256, number))  # noqa: PTH105
        return etag

    def complete(self, sha256: str, count: int) -> None:
        """Join parts 1 to ``count`` into the blob. Raises RefusedError when one is missing or wrong."""
        with self._lock:
            if self.size(sha256) is not None:
                return  # asked twice: the first answer was lost
            parts = [self._part(sha256, number) for number in range(1, count + 1)]
            if missing := [part.name for part in parts if not part.exists()]:
                raise RefusedError(400, f"parts are missing: {missing}")
            self.put(sha256, (piece for part in parts for piece in _read(part)))
            for part in parts:
                part.unlink()

    def _part(self, sha256: str, number: int) -> Path:
        return self._incoming / f"{sha256}.{number}"


def _read(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _write(path: Path, pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()
