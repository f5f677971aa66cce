"""One repo of a release as it is wanted, held against what stands on a Hub. Nothing is written.

A commit is the release when it holds exactly its files, or when it is this version as somebody else
measured it: the same promised files, a record that says so, and sums that name all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from huggingface_hub.errors import RevisionNotFoundError

from release import record as records
from release.allowlist import ATTESTATION
from release.digest import parse_sums, sha256_bytes
from release.errors import ConflictError, PublishError
from release.hub.client import Client
from release.hub.files import SERVER_OWNED, LocalTree, RemoteFile, measured
from release.hub.record import SUMS_FILE
from release.hub.transaction import RepoTree
from release.hub.withdraw import YANKED
from release.record import RECORD_FILE, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One repo's files and the version that they are to be."""

    client: Client
    source: RepoTree
    local: LocalTree
    version: str

    @classmethod
    def of(cls, client: Client, source: RepoTree, version: str) -> "Wanted":
        """Return what is wanted of one repo."""
        local = LocalTree(source.root, source.tree)
        return cls(client=client, source=source, local=local, version=version)

    @property
    def name(self) -> str:
        """Owner and name."""
        return self.source.repo

    @property
    def tag(self) -> str:
        """The name that readers pin."""
        return f"v{self.version}"

    def tagged(self) -> tuple[Record, str] | None:
        """Return the record at the tag, and its commit. Raises ConflictError when it is no such release."""
        _, tags = self.client.refs(self.name)
        if f"{YANKED}{self.version}" in tags:
            raise self.conflict("it was yanked; a version is never used twice")
        if (commit := tags.get(self.tag)) is None:
            return None
        found = self.record(commit)
        if found is None or (found.repo, found.version) != (self.name, self.version):
            raise self.conflict(f"its tag {self.tag} is there and is no release")
        if found.promises(self._meant()):
            differ = self.local.differences(self.client.files(self.name, commit), promised=True)
            if differ:
                raise self.conflict(f"its tag {self.tag} holds other files: {some(differ)}")
        return found, commit

    def made_at(self, commit: str | None) -> str | None:
        """Return ``commit`` when it is still there and holds this release."""
        if commit is None:
            return None
        try:
            there = self.client.files(self.name, commit)
        except RevisionNotFoundError:
            return None
        return commit if self.is_release(commit, there) else None

    def exactly_at(self, commit: str | None) -> str | None:
        """Return ``commit`` when it is still there and holds exactly our files, measurements as well."""
        if commit is None:
            return None
        try:
            there = self.client.files(self.name, commit)
        except RevisionNotFoundError:
            return None
        return None if self.local.differences(there) else commit

    def is_release(self, commit: str, there: Mapping[str, RemoteFile]) -> bool:
        """Tell whether a commit holds this release: ours, or one measured by somebody else."""
        if not self.local.differences(there):
            return True
        if self.local.differences(there, promised=True):
            return False
        found = self.record(commit)
        return found is not None and self.promised(found) and self._whole(commit, there)

    def promised(self, found: Record) -> bool:
        """Tell whether a record is of this very version and promises the same."""
        return (found.repo, found.version) == (self.name, self.version) and found.promises(self._meant())

    def record(self, commit: str) -> Record | None:
        """Return the record at a commit, or None when there is none that reads."""
        data = self.client.read(self.name, RECORD_FILE, commit)
        try:
            return records.parse(data.decode()) if data is not None else None
        except ValueError:
            return None

    def moved(self) -> PublishError | ConflictError:
        """Return the error of a ``main`` that somebody else moved."""
        head, _ = self.client.refs(self.name)
        found = self.record(head)
        if found is not None and found.version == self.version:
            return self.conflict("somebody else publishes this version with other content right now")
        return PublishError(
            f"{self.name}: main moved while the release was published",
            why="Nothing was overwritten, and readers of versions see nothing.",
            hint="look at what was committed there, then run the same command again",
        )

    def conflict(self, what: str) -> ConflictError:
        """Return the error of a version's name that stands for something else."""
        return ConflictError(
            f"{self.name} {self.tag}: {what}",
            why="What stands under a version's name is never overwritten.",
            hint="look at it on the Hub, and release under a new version",
        )

    def _whole(self, commit: str, there: Mapping[str, RemoteFile]) -> bool:
        """Tell whether a commit's own sums name its files: a card that somebody edited is no release.

        No sums name the attestation, which is another each time it is signed; none of ours may be lacking.
        """
        text = self.client.read(self.name, SUMS_FILE, commit) or b""
        named = parse_sums(text.decode(errors="replace"))
        beside = (*SERVER_OWNED, SUMS_FILE, *ATTESTATION)
        held = {path: file for path, file in there.items() if path not in beside}
        attested = set(ATTESTATION) & self.source.tree.files.keys() <= there.keys()
        return (
            attested
            and named.keys() == held.keys()
            and all(named[path] == self._sha256(commit, path, file) for path, file in held.items())
        )

    def _sha256(self, commit: str, path: str, file: RemoteFile) -> str:
        if file.sha256 is not None:
            return file.sha256
        if not measured(path):
            return self.source.tree.files[path].sha256  # it was found to be ours, by its git id
        return sha256_bytes(self.client.read(self.name, path, commit) or b"")

    def _meant(self) -> Record:
        return records.parse((self.source.root / RECORD_FILE).read_text())


def some(paths: tuple[str, ...]) -> str:
    """Name the first of many paths."""
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
