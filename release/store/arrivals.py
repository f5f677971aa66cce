"""Arrivals: files on their way into the store from elsewhere.

They wait in the scratch folder of the key that they belong to, which its lock protects from
the collector, each under its digest and whole. A kill leaves the whole ones; the same
command goes on with them.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from release.digest import File, hashed
from release.store import durable
from release.store.objects import READ_ONLY, drop_pages


class WrongBytesError(Exception):
    """What arrived is not the file that was promised; the text says in what."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The files that arrived for one key."""

    folder: Path

    def path(self, file: File) -> Path:
        """Return where a file lies once it is whole."""
        return self.folder / file.sha256

    def has(self, file: File) -> bool:
        """Tell whether a file arrived."""
        try:
            return self.path(file).stat().st_size == file.size
        except FileNotFoundError:
            return False

    def receive(self, file: File, chunks: Iterable[bytes], read: Callable[[int], None]) -> None:
        """Write a file as it comes, hashed on the way. ``read`` is told of bytes done.

        No more than its size is read. Raises WrongBytesError, and keeps nothing, when the
        bytes do not have its digest.
        """
        partial = self.folder / f".{file.sha256}.part"
        with durable.full_disk_is_clear(partial):
            durable.make_folder(self.folder)
            wrong = _write(partial, file, chunks, read)
            if wrong:
                partial.unlink()
                raise WrongBytesError(wrong)
            partial.chmod(READ_ONLY)
            durable.sync_file(partial)
            drop_pages(partial)
            durable.rename(partial, self.path(file))


def _write(target: Path, file: File, chunks: Iterable[bytes], read: Callable[[int], None]) -> str:
    """Return what is wrong with the bytes, or ""."""
    digest, size = hashlib.sha256(), 0
    target.unlink(missing_ok=True)  # what a kill left may be read-only
    with target.open("wb") as writer:
        for chunk in chunks:
            size += len(chunk)
            if size > file.size:
                return f"it has more than {file.size} bytes"
            digest.update(chunk)
            writer.write(chunk)
            hashed.add(len(chunk))
            read(len(chunk))
    if size < file.size:
        return f"it has {size} bytes, not {file.size}"
    found = digest.hexdigest()
    return "" if found == file.sha256 else f"its bytes have sha256 {found[:12]}"
