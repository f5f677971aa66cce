"""What a repo holds against what was meant, by the ids that the Hub gives: nothing is downloaded.

A large file is known by its sha256, which is our own digest; a small one by the id of its git
blob, computed from the local bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from release.allowlist import ATTESTATION
from release.digest import File, Tree, sha256_bytes
from release.errors import PublishError

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

SERVER_OWNED = (".gitattributes",)
"""Files that the Hub itself writes lines into: neither compared nor deleted, and no part of a tree."""

MEASURED = ("README.md", "release.json", "SHA256SUMS", *ATTESTATION)
"""Files that tell measurements, or who vouches: they may differ between two publishes of a release."""

KNOWN_CLIENT = 2
"""The major version of huggingface_hub whose ``upload_info`` is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file at a commit; ``sha256`` is None for a small one."""

    size: int
    git_oid: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class LocalTree:
    """The files that are meant, in a folder that holds exactly them."""

    root: Path
    tree: Tree
    _git_oids: dict[str, str] = field(default_factory=dict)

    def differences(self, there: Mapping[str, RemoteFile], *, promised: bool = False) -> tuple[str, ...]:
        """Name each path that differs at a commit; ``promised``: leave out what is measured."""
        told = [
            path
            for path in sorted({*self.tree.files, *there})
            if path not in SERVER_OWNED and not (promised and measured(path))
        ]
        return tuple(path for path in told if not self._same(path, there.get(path)))

    def strays(self, there: Mapping[str, RemoteFile]) -> tuple[str, ...]:
        """Return the paths that a commit of this tree deletes."""
        return tuple(sorted(set(there) - set(self.tree.files) - set(SERVER_OWNED)))

    def unsent(self, there: Mapping[str, RemoteFile]) -> int:
        """Return the bytes of files that ``there`` does not hold, under whatever name."""
        known = {file.sha256 for file in there.values()} | {file.git_oid for file in there.values()}
        return sum(
            file.size
            for path, file in self.tree.files.items()
            if file.sha256 not in known and (file.size > SMALL or self._git_oid(path) not in known)
        )

    def additions(self, there: Mapping[str, RemoteFile]) -> "list[CommitOperationAdd]":
        """Return the client's operations for the files that ``there`` lacks; none is hashed here."""
        return [
            _addition(path, self.root / path, file)
            for path, file in sorted(self.tree.files.items())
            if not self._same(path, there.get(path))
        ]

    def require_sent(self, additions: "Sequence[CommitOperationAdd]") -> None:
        """Raise PublishError when what the client hashed while it sent it is not what was meant."""
        for addition in additions:
            info, path = addition.upload_info, addition.path_in_repo
            if info.is_hashed and info.sha256.hex() != self.tree.files[path].sha256:
                raise changed(self.root / path)

    def _same(self, path: str, there: RemoteFile | None) -> bool:
        meant = self.tree.files.get(path)
        if meant is None or there is None or meant.size != there.size:
            return False
        if there.sha256 is not None:
            return there.sha256 == meant.sha256
        return there.git_oid == self._git_oid(path)

    def _git_oid(self, path: str) -> str:
        if path not in self._git_oids:
            data = (self.root / path).read_bytes()
            if sha256_bytes(data) != self.tree.files[path].sha256:
                raise changed(self.root / path)
            self._git_oids[path] = git_oid(data)
        return self._git_oids[path]


SMALL = 10 << 20
"""Bytes up to which a file may lie in git itself."""


def git_oid(data: bytes) -> str:
    """Return git's own id of a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def measured(path: str) -> bool:
    """Tell whether a file stands outside the comparison of two releases."""
    return path in MEASURED or path.startswith("evidence/")


def changed(path: Path) -> PublishError:
    """Return the error of a file that is not the one of its manifest."""
    return PublishError(
        f"{path} is not what was meant to be published",
        why="Its bytes are not those that were assembled; readers see nothing of it.",
        hint="check the store with: invoke store.verify --contents; then run the same command again",
    )


def _addition(path: str, local: Path, known: File) -> "CommitOperationAdd":
    """Return an operation that knows its sha256: the one place that sets the client's field.

    Not for Xet: it hashes while it cuts chunks, at no cost, and would take our word for the bytes.
    """
    import huggingface_hub
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.lfs import UploadInfo
    from huggingface_hub.utils._runtime import is_xet_available  # it has no public name

    operation = CommitOperationAdd(path, str(local))
    if operation.upload_info.size != known.size:
        raise changed(local)
    if int(huggingface_hub.__version__.split(".")[0]) == KNOWN_CLIENT and not is_xet_available():
        operation.upload_info = UploadInfo(
            size=known.size, sample=operation.upload_info.sample, sha256=bytes.fromhex(known.sha256)
        )
    return operation
