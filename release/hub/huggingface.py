"""The Hugging Face Hub, and every server that speaks its protocol (HF_ENDPOINT).

    stage     the large files of both: only those that the Hub does not have
    commit    one commit a repo, on top of the ``main`` that preflight saw
    verify    every file of the commit by its id, nothing downloaded
    tag       ``v<version>`` at that commit

A version is released when both tags are there and the record at each promises the same. The
master is tagged first: of two publishers with other content, the one whose tag was refused
there has written no tag at all, so the two repos are never of two releases.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.utils._runtime import is_xet_available

from release import record as records
from release.allowlist import SIGNATURE
from release.digest import sha256_bytes
from release.errors import ConflictError, PublishError
from release.hub import preflight
from release.hub.calls import CallJournal
from release.hub.client import Client, StaleParentError, TagTakenError
from release.hub.files import SERVER_OWNED, LocalTree, RemoteFile
from release.hub.insist import Meter, Patience, one_try
from release.hub.record import SUMS_FILE
from release.hub.transaction import Published, Release, RepoTree
from release.hub.withdraw import YANKED
from release.record import RECORD_FILE, Record
from release.store.locks import KeyLock

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a publish is about to write, for the one who is asked."""

    endpoint: str
    account: str
    version: str
    repos: tuple["RepoIntent", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoIntent:
    """What a publish is about to write to one repo. ``unsent`` bytes are not in its ``main``."""

    repo: str
    files: int
    size: int
    unsent: int
    deletes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceHub:
    """A remote Hub; ``journals`` is the folder in which a publish notes its calls."""

    endpoint: str
    journals: Path
    confirm: Callable[[Intent], None] = lambda _: None
    patience: Patience = field(default_factory=Patience)

    @contextmanager
    def begin(self, release: Release) -> Iterator["HuggingFaceTransaction"]:
        """Take this machine's turn at the Hub for one publish."""
        folder = self.journals / (urlsplit(self.endpoint).hostname or "hub")
        file = folder / f"{release.repos[0].repo.replace('/', '--')}-v{release.version}.jsonl"
        with KeyLock(file.with_suffix(".lock")), one_try(self.patience) as meter:
            digests = {repo.repo: repo.tree.digest for repo in release.repos}
            journal = CallJournal(file, version=release.version, repos=digests)
            client = Client.connect(self.endpoint, self.patience, journal)
            repos = tuple(
                HuggingFaceRepo(client=client, meter=meter, source=repo, version=release.version)
                for repo in release.repos
            )
            yield HuggingFaceTransaction(hub=self, client=client, release=release, repos=repos)

    def plan(self, release: Release) -> tuple[RepoIntent, ...]:
        """Return what publishing would write now; only asks, and needs no token for public repos."""
        with self.begin(release) as transaction:
            for repo in transaction.repos:
                if repo.find() is None:
                    repo.see()
            return tuple(repo.intent() for repo in transaction.repos)


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceTransaction:
    """One publish; its journal stands until both tags do."""

    hub: HuggingFaceHub
    client: Client
    release: Release
    repos: tuple["HuggingFaceRepo", ...]

    def prepare(self) -> None:
        """Check both repos, here and on the Hub, and let the plan be confirmed."""
        for source in self.release.repos:
            preflight.check(source.root, source.tree)
        account = self.client.whoami()
        waiting = [repo for repo in self.repos if repo.tagged is None]
        for repo in waiting:
            repo.look()
        intents = tuple(repo.intent() for repo in waiting)
        self.hub.confirm(
            Intent(endpoint=self.hub.endpoint, account=account, version=self.release.version, repos=intents)
        )

    def finish(self) -> None:
        """Remove the journal."""
        self.client.journal.close()


@dataclass(slots=True, kw_only=True)
class HuggingFaceRepo:
    """One repo of a publish. What it remembers can be found again by asking the Hub."""

    client: Client
    meter: Meter
    source: RepoTree
    version: str
    tagged: str | None = None
    """The commit that readers of this version see."""
    made: str | None = None
    """A commit that holds this release."""
    sent: int = 0
    _head: str = ""
    _there: Mapping[str, RemoteFile] = field(default_factory=dict)
    _additions: "list[CommitOperationAdd]" = field(default_factory=list)

    @property
    def name(self) -> str:
        """Owner and name."""
        return self.source.repo

    @property
    def tag_name(self) -> str:
        """The name that readers pin."""
        return f"v{self.version}"

    @property
    def local(self) -> LocalTree:
        """The files that are meant."""
        return LocalTree(self.source.root, self.source.tree)

    def find(self) -> Record | None:
        """Return the record at the tag. Raises ConflictError when the tag is of no such release."""
        _, tags = self.client.refs(self.name)
        if f"{YANKED}{self.version}" in tags:
            raise self._conflict("it was yanked; a version is never used twice")
        if (commit := tags.get(self.tag_name)) is None:
            return None
        found = self._record(commit)
        if found is None or (found.repo, found.version) != (self.name, self.version):
            raise self._conflict(f"its tag {self.tag_name} is there and is no release")
        if found.promises(self._meant()):
            differ = self.local.differences(self.client.files(self.name, commit), promised=True)
            if differ:
                raise self._conflict(f"its tag {self.tag_name} holds other files: {_some(differ)}")
        self.tagged = self.made = commit
        return found

    def look(self) -> None:
        """Check what the Hub says of this repo, and remember where its ``main`` is."""
        self.client.check_write(self.name)
        self.client.check_card(self.name, (self.source.root / preflight.CARD).read_text())
        self.see()
        self.client.journal.note("look", self.name)

    def see(self) -> None:
        """Remember where ``main`` is, and the commit of this release when it was made before."""
        self._head, _ = self.client.refs(self.name)
        self._there = self.client.files(self.name, self._head)
        self.made = self._ours() or (self._head if self._is_release(self._head, self._there) else None)

    def intent(self) -> RepoIntent:
        """Return what is about to be written."""
        files, local = self.source.tree.files, self.local
        return RepoIntent(
            repo=self.name,
            files=len(files),
            size=self.source.tree.size,
            unsent=0 if self.made else local.unsent(self._there),
            deletes=() if self.made else local.strays(self._there),
        )

    def stage(self) -> None:
        """Send the large files; small ones travel with the commit."""
        if self.made is None:
            before = self.meter.sent
            self._additions = self.local.additions()
            self.client.send_blobs(self.name, self._additions)
            self.sent = self.meter.sent - before

    def commit(self) -> None:
        """Make one commit on the ``main`` that was seen, or find it made."""
        if self.made is not None:
            return
        try:
            self.made = self.client.commit(
                self.name,
                self._additions,
                self.local.strays(self._there),
                f"Release {self.tag_name}",
                parent=self._head,
                landed=self._landed,
            )
        except StaleParentError:
            self.made = self._landed()
            if self.made is None:
                raise self._moved() from None

    def verify(self) -> None:
        """Compare every file at the commit, by the id that the Hub computed."""
        assert self.made is not None, "committed before"
        there = self.client.files(self.name, self.made)
        if not self._is_release(self.made, there):
            raise PublishError(
                f"{self.name}: the commit {self.made[:12]} does not hold what was sent: "
                f"{_some(self.local.differences(there))}",
                why="Readers of versions see nothing of it: it is not tagged.",
                hint="run the same command again",
            )
        if self._additions:
            self.sent += sum(
                file.size
                for path, file in there.items()
                if file.sha256 is None and path not in SERVER_OWNED and self._there.get(path) != file
            )
        self.client.journal.note("verified", self.name, self.made)

    def tag(self) -> None:
        """Tag the commit. Raises ConflictError when the tag pins something else."""
        assert self.made is not None, "committed before"
        try:
            self.client.tag(self.name, self.tag_name, self.made, f"Release {self.tag_name}")
            self.tagged = self.made
        except TagTakenError:
            found = self.find()
            if found is None or not self._promised(found):
                raise self._conflict("another release was published under this version meanwhile") from None

    def published(self) -> Published:
        """Return the page of the tag."""
        assert self.tagged is not None, "tagged before"
        sums = self.client.read(self.name, SUMS_FILE, self.tagged) or b""
        return Published(
            repo=self.name,
            where=f"{self.client.api.endpoint}/{self.name}/tree/{self.tag_name}",
            sums=sha256_bytes(sums),
            commit=self.tagged,
            sent=None if self._additions and is_xet_available() else self.sent,
            size=self.source.tree.size,
            signed=self.client.read(self.name, SIGNATURE, self.tagged) is not None,
        )

    def _ours(self) -> str | None:
        """Return the commit of the journal, when it is still there and holds this release."""
        commit = self.client.journal.committed(self.name)
        if commit is None:
            return None
        try:
            there = self.client.files(self.name, commit)
        except RevisionNotFoundError:
            return None
        return commit if self._is_release(commit, there) else None

    def _landed(self) -> str | None:
        """Return the commit of this release at ``main``; None when ``main`` is where it was.

        Raises PublishError or ConflictError when somebody else moved it.
        """
        head, _ = self.client.refs(self.name)
        if head == self._head:
            return None
        if self._is_release(head, self.client.files(self.name, head)):
            return head
        raise self._moved()

    def _is_release(self, commit: str, there: Mapping[str, RemoteFile]) -> bool:
        """Tell whether a commit holds this release: ours, or one measured by somebody else."""
        differ = self.local.differences(there)
        if not differ:
            return True
        if self.local.differences(there, promised=True):
            return False
        found = self._record(commit)
        return found is not None and self._promised(found)

    def _promised(self, found: Record) -> bool:
        """Tell whether a record is of this very version and promises the same."""
        return (found.repo, found.version) == (self.name, self.version) and found.promises(self._meant())

    def _record(self, commit: str) -> Record | None:
        data = self.client.read(self.name, RECORD_FILE, commit)
        try:
            return records.parse(data.decode()) if data is not None else None
        except ValueError:
            return None

    def _meant(self) -> Record:
        return records.parse((self.source.root / RECORD_FILE).read_text())

    def _moved(self) -> PublishError | ConflictError:
        head, _ = self.client.refs(self.name)
        found = self._record(head)
        if found is not None and found.version == self.version:
            return self._conflict("somebody else publishes this version with other content right now")
        return PublishError(
            f"{self.name}: main moved while the release was published",
            why="Nothing was overwritten, and readers of versions see nothing.",
            hint="look at what was committed there, then run the same command again",
        )

    def _conflict(self, what: str) -> ConflictError:
        return ConflictError(
            f"{self.name} {self.tag_name}: {what}",
            why="What stands under a version's name is never overwritten.",
            hint="look at it on the Hub, and release under a new version",
        )


def _some(paths: tuple[str, ...]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
