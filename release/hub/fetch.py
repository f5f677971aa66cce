"""Fetching: a locked source on a Hub, brought into the store.

Each file is hashed while it is written, and goes in by a rename. A killed fetch leaves what
it had; the next one goes on from there by a range request. Nothing is asked of the Hub but
the files that the lock names, at the commit that it names.
"""

import hashlib
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from release.digest import CHUNK, File, hashed
from release.errors import NetworkError
from release.hub.listing import answered
from release.lock import Pinned
from release.reponame import RepoName
from release.store import Store, durable

PART = "part"


def bring(
    store: Store,
    repo: RepoName,
    pinned: Pinned,
    read: Callable[[int], None],
    waiting: Callable[[], None] = lambda: None,
) -> str:
    """Bring the files of ``pinned`` that the store lacks in; return the tree's digest.

    ``read`` is told of bytes done, ``waiting`` when another process fetches. Raises
    NetworkError when a file does not come, or is not the one that was locked.
    """
    from huggingface_hub.utils import disable_progress_bars  # a release that fetches nothing does not pay

    disable_progress_bars()  # there is one bar, and it is ours
    with store.lock("ingest", waiting), store.gate.shared():
        for path, file in sorted(pinned.tree.files.items()):
            if store.objects.has(file):
                read(file.size)
            else:
                _bring(store, repo, pinned.commit, path, file, read)
        return store.put_tree(pinned.tree)


def _bring(
    store: Store, repo: RepoName, commit: str, path: str, file: File, read: Callable[[int], None]
) -> None:
    scratch = store.scratch(file.sha256)
    with store.lock(file.sha256), durable.full_disk_is_clear(scratch):
        durable.make_folder(scratch)
        part = scratch / PART
        if part.is_file() and part.stat().st_size > file.size:
            part.unlink()
        with Hashing(part, read) as writer:
            with answered(repo, f"@{commit}: {path}"):
                _download(repo, commit, path, file, writer)
            found = writer.digest
        if found != file.sha256:
            durable.remove(scratch)
            raise NetworkError(
                f"{repo}@{commit}: {path} has sha256 {found}, the lock says {file.sha256}",
                why="The bytes that came are not those that were locked; they were thrown away.",
                hint="the same command downloads the file again",
            )
        store.objects.adopt_hashed(part, file)
        durable.remove(scratch)


def _download(repo: RepoName, commit: str, path: str, file: File, writer: "Hashing") -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    http_get(
        hf_hub_url(str(repo), path, revision=commit),
        writer,
        resume_size=writer.tell(),
        headers=build_hf_headers(),
        expected_size=file.size,
    )


class Hashing(BytesIO):
    """A file that is written to its end, from where a killed writer left it, and hashed on the way.

    A server that ignores the range asks for ``seek(0)`` and ``truncate()``: then it starts anew.
    """

    def __init__(self, path: Path, read: Callable[[int], None]) -> None:
        super().__init__()
        self._read = read
        self._digest = hashlib.sha256()
        self._file = path.open("a+b")
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._count(chunk)

    @property
    def digest(self) -> str:
        """The hex sha256 of what is in the file."""
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Append ``data``."""
        self._count(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Return the bytes in the file."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go back to the start, the only place from which what follows can be hashed."""
        if (offset, whence) != (0, os.SEEK_SET):
            return self._file.tell()
        self._read(-self._file.tell())
        self._digest = hashlib.sha256()
        return self._file.seek(0)

    def truncate(self, size: int | None = None) -> int:
        """Drop what stands after the current place."""
        return self._file.truncate(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _count(self, data: bytes | bytearray | memoryview) -> None:
        self._digest.update(data)
        hashed.add(len(data))
        self._read(len(data))
