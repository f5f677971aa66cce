"""Where a published release is read: a Hub by its protocol, or a folder of releases."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from release.digest import check_path, sha256_files
from release.errors import ProofError, UsageError
from release.home import default_root
from release.hub.calls import CallJournal
from release.hub.client import Client, endpoint
from release.hub.files import SERVER_OWNED, RemoteFile
from release.hub.insist import Patience, one_try
from release.reponame import RepoName
from release.verifying.published import TEXT, Published

READ_WHOLE = 1 << 20
"""Bytes up to which a file of a folder is read, and not only hashed."""


class Place(Protocol):
    """A place for releases, as a reader sees it."""

    def find(self, repo: str, tag: str) -> Published | None:
        """Return what stands at a tag; None when there is no such tag."""

    def read(self, repo: str, tag: str, path: str) -> bytes | None:
        """Return one small file at a tag; None when tag or file are not there."""

    def tags(self, repo: str) -> tuple[str, ...]:
        """Return the tags of a repo."""

    def at(self, repo: str, revision: str) -> Published:
        """Return what stands at any revision."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A Hub."""

    client: Client

    def find(self, repo: str, tag: str) -> Published | None:
        """Return what stands at a tag; None when there is no such tag."""
        _, tags = self.client.refs(repo)
        return self.at(repo, tags[tag], tag) if tag in tags else None

    def read(self, repo: str, tag: str, path: str) -> bytes | None:
        """Return one small file at a tag; None when tag or file are not there."""
        _, tags = self.client.refs(repo)
        return self.client.read(repo, path, tags[tag]) if tag in tags else None

    def tags(self, repo: str) -> tuple[str, ...]:
        """Return the tags of a repo."""
        return tuple(sorted(self.client.refs(repo)[1]))

    def at(self, repo: str, revision: str, tag: str = "") -> Published:
        """Return what stands at a revision; small files are read."""
        listed = self.client.files(repo, revision)
        there = {path: file for path, file in listed.items() if path not in SERVER_OWNED}
        _require_plain(repo, there)
        _require_small(repo, there)
        small = {
            path: self.client.read(repo, path, revision) or b""
            for path, file in there.items()
            if file.sha256 is None
        }

        def part(path: str, begin: int, end: int) -> bytes:
            return self.client.part(repo, path, revision, begin, end)

        return Published(repo=repo, tag=tag or revision, commit=revision, there=there, small=small, part=part)


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """A folder of releases. It tells no digests, so every byte is read."""

    root: Path

    def find(self, repo: str, tag: str) -> Published | None:
        """Return what stands at a tag; None when there is no such tag."""
        return self.at(repo, tag) if tag in self.tags(repo) else None

    def read(self, repo: str, tag: str, path: str) -> bytes | None:
        """Return one small file of a version; None when version or file are not there."""
        file = self._repo(repo) / tag / path
        return file.read_bytes() if file.is_file() else None

    def tags(self, repo: str) -> tuple[str, ...]:
        """Return the versions of a repo."""
        return tuple(sorted(path.name for path in self._repo(repo).glob("v*")))

    def at(self, repo: str, revision: str) -> Published:
        """Return what a version's folder holds."""
        return read_folder(self._repo(repo) / revision, repo, revision)

    def _repo(self, repo: str) -> Path:
        name = RepoName.parse(repo)
        return self.root / name.owner / name.name


def read_folder(root: Path, repo: str, tag: str) -> Published:
    """Return what a folder holds, as if it was published."""
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    sizes = {name: path.stat().st_size for name, path in found.items()}
    _require_plain(repo, sizes)
    large = [name for name, size in sizes.items() if size > READ_WHOLE]
    digests = dict(zip(large, sha256_files([found[name] for name in large]), strict=True))
    return Published(
        repo=repo,
        tag=tag,
        commit="",
        there={
            name: RemoteFile(size=size, git_oid="", sha256=digests.get(name)) for name, size in sizes.items()
        },
        small={name: path.read_bytes() for name, path in found.items() if name not in digests},
        part=partial(_part, root),
    )


@contextmanager
def open_place(hub: Path | None) -> Iterator[Place]:
    """Open a folder of releases, or with None the Hub of HF_ENDPOINT."""
    if hub is not None:
        yield FolderPlace(hub)
        return
    patience = Patience()
    with one_try(patience):
        journal = CallJournal(default_root() / "publishing" / "verify.jsonl", version="", repos={})
        yield HubPlace(Client.connect(endpoint(), patience, journal))


def published_at(place: Place, repo: str, tag: str) -> Published:
    """Return what stands at a tag. Raises UsageError when there is no such tag."""
    found = place.find(repo, tag)
    if found is None:
        known = ", ".join(place.tags(repo))
        raise UsageError(f"{repo} has no tag {tag}", hint=f"it has: {known or 'none'}")
    return found


def _part(root: Path, path: str, begin: int, end: int) -> bytes:
    with (root / path).open("rb") as file:
        file.seek(begin)
        return file.read(end - begin)


def _require_small(repo: str, there: Mapping[str, RemoteFile]) -> None:
    """Refuse to read into memory what is too large for git itself."""
    for path, file in there.items():
        if file.sha256 is None and file.size > TEXT:
            raise ProofError(f"{repo}: {path} has {file.size:,} bytes and is not in LFS")


def _require_plain(repo: str, paths: Iterable[str]) -> None:
    """Refuse names that could leave a folder: they are a stranger's."""
    try:
        for path in paths:
            check_path(path)
    except ValueError as error:
        raise ProofError(f"{repo}: {error}", why="No release holds a file of such a name.") from error
