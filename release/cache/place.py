"""The place that a cache is kept in: named files in a folder or a bucket, through fsspec.

Whatever the client raises means one thing here: the place does not answer. A file in a
folder appears by rename, one in a bucket when its upload is complete, so readers see whole
files; they check every byte all the same.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem

from release.cache.address import Address, scrubbed
from release.cache.entry import RefusedError
from release.errors import MachineError
from release.store import durable

INCOMING = "v1/incoming"
BLOCK = 16 << 20
"""Bytes asked of a bucket at once; the next block is on its way while one is hashed."""

ATTEMPTS = 2
CONNECT_S, READ_S = 5, 20


class UnreachableError(Exception):
    """The place does not answer, or does not let us; the text says what its client said."""


@dataclass(frozen=True, slots=True)
class Place:
    """Files by name below ``root``."""

    files: AbstractFileSystem
    root: str

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None when there is none.

        Raises RefusedError for what is there and no file: a pipe would never end.
        """
        with _asking():
            try:
                found = self.files.info(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        if found["type"] != "file":
            raise RefusedError(f"{name} is no file")
        return int(found["size"])

    def read(self, name: str, limit: int) -> bytes | None:
        """Return a small file, None when there is none. Raises RefusedError past ``limit`` bytes."""
        size = self.size(name)
        if size is None:
            return None
        if size > limit:
            raise RefusedError(f"{name} has {size} bytes, more than {limit}")
        with _asking():
            try:
                return bytes(self.files.cat_file(self._path(name), start=0, end=size)) if size else b""
            except FileNotFoundError:
                return None

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """Yield a file in blocks. Raises RefusedError when there is none of ``size`` bytes."""
        found = self.size(name)
        if found != size:
            raise RefusedError(
                f"{name} is not there" if found is None else f"{name} has {found} bytes, not {size}"
            )
        with _asking():
            try:
                file = self.files.open(self._path(name), "rb", block_size=BLOCK, cache_type="background")
            except FileNotFoundError as error:
                raise RefusedError(f"{name} is not there") from error
        with file:
            while True:
                with _asking():
                    chunk = file.read(BLOCK)
                if not chunk:
                    return
                yield chunk

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, in place of one that stands there."""
        with _asking():
            if isinstance(self.files, LocalFileSystem):
                with self._appearing(name) as partial:
                    partial.write_bytes(data)
            else:
                self.files.pipe_file(self._path(name), data)

    def upload(self, name: str, source: Path, sent: Callable[[int], None]) -> None:
        """Write a file from ``source``, in place of one that stands there; ``sent`` is told of bytes."""
        with _asking():
            if isinstance(self.files, LocalFileSystem):
                with self._appearing(name) as partial:
                    self.files.put_file(str(source), str(partial))
                sent(source.stat().st_size)
            else:
                self.files.put_file(str(source), self._path(name), callback=_Sent(sent))

    @contextmanager
    def _appearing(self, name: str) -> Iterator[Path]:
        """Yield where to write a file of a folder; it is renamed to its name when it is whole."""
        target = Path(self._path(name))
        partial = Path(self._path(f"{INCOMING}/{secrets.token_hex(8)}"))  # no two machines share one
        durable.make_folder(partial.parent)
        durable.make_folder(target.parent)
        try:
            yield partial
            durable.sync_file(partial)
            durable.rename(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def open_place(address: Address) -> Place:
    """Open the place at ``address``; nothing is asked of it yet.

    Raises MachineError when the S3 client is not installed.
    """
    if not address.bucket:
        return Place(LocalFileSystem(skip_instance_cache=True), address.path)
    try:
        from s3fs import S3FileSystem
    except ImportError as error:
        raise MachineError(
            "a cache in a bucket needs the S3 client s3fs, which is not installed",
            hint="type: uv sync --extra s3 (or: uv run --extra s3 invoke …)",
        ) from error
    patience = {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    }
    files = S3FileSystem(config_kwargs=patience, use_listings_cache=False, skip_instance_cache=True)
    files.retries = ATTEMPTS  # of a body that breaks off; those of a request are botocore's
    return Place(files, address.path)


class _Sent(Callback):  # type: ignore[misc]  # fsspec has no types
    """Tells how many bytes were sent since the last word."""

    def __init__(self, sent: Callable[[int], None]) -> None:
        super().__init__()
        self._sent = sent

    def relative_update(self, inc: int = 1) -> None:
        self._sent(inc)


@contextmanager
def _asking() -> Iterator[None]:
    """Turn what a client raises into one error: clients have no root of errors in common."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreachableError(scrubbed(text or type(error).__name__)) from error
