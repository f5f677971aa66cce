"""What readers get at a tag: the ids of all files, the bytes of small ones, ranges of large ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from release import allowlist
from release import record as records
from release.digest import File, Tree, parse_sums, sha256_bytes
from release.errors import ProofError
from release.hub.files import RemoteFile
from release.hub.record import SUMS_FILE
from release.record import RECORD_FILE, Record

TEXT = 64 << 20
"""Bytes of the largest text that is read: a tokenizer has 20 MB."""

Part = Callable[[str, int, int], bytes]
"""Reads bytes of a file: path, begin, end."""


def _nothing(path: str, begin: int, end: int) -> bytes:
    raise ValueError(f"{path}: nobody reads bytes {begin} to {end}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a tag holds. ``small`` has the bytes of every file whose sha256 the Hub does not tell."""

    repo: str
    tag: str
    commit: str
    there: Mapping[str, RemoteFile]
    small: Mapping[str, bytes]
    part: Part = _nothing

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file of text; None when it is not there.

        Raises ProofError for one that is too large, or is not what the Hub says that it is.
        """
        if path in self.small or path not in self.there:
            return self.small.get(path)
        file = self.there[path]
        if file.size > TEXT:
            raise ProofError(f"{self.repo}: {path} has {file.size:,} bytes, which no text of a release has")
        data = self.part(path, 0, file.size)
        if sha256_bytes(data) != file.sha256:
            raise ProofError(f"{self.repo}: {path} is not what the Hub says that it is")
        return data

    def digest(self, path: str) -> str | None:
        """Return the sha256 of a file, or None when it is not there."""
        file = self.there.get(path)
        if file is None:
            return None
        return file.sha256 or sha256_bytes(self.small[path])

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of every file."""
        return {path: file.sha256 or sha256_bytes(self.small[path]) for path, file in self.there.items()}

    @property
    def record(self) -> Record | None:
        """The release record; None when there is none that reads."""
        return parsed(self.read(RECORD_FILE))

    @property
    def sums(self) -> dict[str, str]:
        """What SHA256SUMS says."""
        return parse_sums((self.read(SUMS_FILE) or b"").decode(errors="replace"))

    @property
    def model(self) -> Tree:
        """The model files, which are promised: all but card, evidence, record and attestation."""
        beside = (*allowlist.CARD, RECORD_FILE, SUMS_FILE, *allowlist.ATTESTATION)
        return Tree(
            {
                path: File(self.digest(path) or "", file.size)
                for path, file in self.there.items()
                if path not in beside and not path.startswith("evidence/")
            }
        )


def parsed(data: bytes | None) -> Record | None:
    """Return a record, or None when ``data`` is none."""
    try:
        return records.parse(data.decode()) if data else None
    except ValueError:
        return None
