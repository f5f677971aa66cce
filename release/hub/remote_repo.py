"""One repo of a publish to a remote Hub: what is the same by whichever way its commit comes about.

What it remembers can be found again by asking the Hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from huggingface_hub.utils._runtime import is_xet_available

from release.allowlist import SIGNATURE
from release.digest import sha256_bytes
from release.errors import PublishError
from release.hub import preflight
from release.hub.client import Client, TagTakenError
from release.hub.files import SERVER_OWNED, RemoteFile
from release.hub.insist import Meter
from release.hub.intent import RepoIntent
from release.hub.record import SUMS_FILE
from release.hub.transaction import Published
from release.hub.wanted import Wanted, some
from release.record import Record

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd


@dataclass(slots=True, kw_only=True)
class RemoteRepo:
    """A repo whose commit is looked for, verified and tagged."""

    client: Client
    meter: Meter
    wanted: Wanted
    tagged: str | None = None
    """The commit that readers of this version see."""
    made: str | None = None
    """A commit that holds this release."""
    sent: int = 0
    before: Mapping[str, RemoteFile] = field(default_factory=dict)
    """What ``main`` held when it was seen."""
    additions: "list[CommitOperationAdd]" = field(default_factory=list)
    """What was sent now; empty where the commit was there."""

    @property
    def name(self) -> str:
        """Owner and name."""
        return self.wanted.name

    def find(self) -> Record | None:
        """Return the record at the tag. Raises ConflictError when the tag is of no such release."""
        found = self.wanted.tagged()
        if found is None:
            return None
        self.tagged = self.made = found[1]
        return found[0]

    def look(self) -> None:
        """Check what the Hub says of this repo, and remember where its ``main`` is."""
        self.client.check_write(self.name)
        card = self.wanted.source.root / preflight.CARD
        self.client.check_card(self.name, card.read_text())
        self.see()
        self.client.journal.note("look", self.name)

    def see(self) -> None:
        """Remember what stands on the Hub."""
        raise NotImplementedError

    def intent(self) -> RepoIntent:
        """Return what is about to be written."""
        tree = self.wanted.source.tree
        return RepoIntent(
            repo=self.name,
            files=len(tree.files),
            size=tree.size,
            unsent=0 if self.made else self.to_send(),
            deletes=() if self.made else self.wanted.local.strays(self.before),
            how=self.how(),
        )

    def to_send(self) -> int:
        """Return the bytes that have to be sent."""
        return 0

    def how(self) -> str:
        """Say by which way the commit comes about, where it is not one commit on ``main``."""
        return ""

    def holds(self, commit: str, there: Mapping[str, RemoteFile]) -> bool:
        """Tell whether a commit is what was meant: ours, or one that another publisher measured."""
        return self.wanted.is_release(commit, there)

    def verify(self) -> None:
        """Compare every file at the commit, by the id that the Hub computed."""
        assert self.made is not None, "committed before"
        there = self.client.files(self.name, self.made)
        if not self.holds(self.made, there):
            raise PublishError(
                f"{self.name}: the commit {self.made[:12]} does not hold what was sent: "
                f"{some(self.wanted.local.differences(there))}",
                why="Readers of versions see nothing of it: it is not tagged.",
                hint="run the same command again",
            )
        if self.additions:
            self.sent += sum(
                file.size
                for path, file in there.items()
                if file.sha256 is None and path not in SERVER_OWNED and self.before.get(path) != file
            )
        self.client.journal.note("verified", self.name, self.made)

    def tag(self) -> None:
        """Tag the commit. Raises ConflictError when the tag pins something else."""
        assert self.made is not None, "committed before"
        tag = self.wanted.tag
        try:
            self.client.tag(self.name, tag, self.made, f"Release {tag}")
            self.tagged = self.made
        except TagTakenError:
            found = self.find()
            if found is None or not self.wanted.promised(found):
                raise self.wanted.conflict(
                    "another release was published under this version meanwhile"
                ) from None

    def published(self) -> Published:
        """Return the page of the tag."""
        assert self.tagged is not None, "tagged before"
        return self.shown(self.tagged, self.wanted.tag, f"tree/{self.wanted.tag}")

    def shown(self, commit: str, revision: str, page: str) -> Published:
        """Return what readers get by ``revision``, which is at ``commit``."""
        sums = self.client.read(self.name, SUMS_FILE, commit) or b""
        return Published(
            repo=self.name,
            where=f"{self.client.endpoint}/{self.name}/{page}",
            sums=sha256_bytes(sums),
            commit=commit,
            revision=revision,
            sent=None if self.additions and is_xet_available() else self.sent,
            size=self.wanted.source.tree.size,
            signed=self.client.read(self.name, SIGNATURE, commit) is not None,
        )


@dataclass(slots=True, kw_only=True)
class SendingRepo(RemoteRepo):
    """A repo that files are sent to, on top of the ``main`` that was seen."""

    head: str = ""

    def see(self) -> None:
        """Remember where ``main`` is, and the commit of this release when it was made before."""
        self.head, _ = self.client.refs(self.name)
        self.before = self.client.files(self.name, self.head)
        self.made = self.wanted.made_at(self.client.journal.committed(self.name))
        if self.made is None and self.wanted.is_release(self.head, self.before):
            self.made = self.head

    def to_send(self) -> int:
        """Return the bytes that ``main`` does not hold."""
        return self.wanted.local.unsent(self.before)

    def stage(self) -> None:
        """Send the large files; small ones travel with the commit."""
        if self.made is None:
            already = self.meter.sent
            local = self.wanted.local
            self.additions = local.additions(self.before)
            if self.additions:
                self.client.send_blobs(self.name, self.additions)
            local.require_sent(self.additions)
            self.sent = self.meter.sent - already
