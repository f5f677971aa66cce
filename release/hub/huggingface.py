"""The Hugging Face Hub, and every server that speaks its protocol (HF_ENDPOINT).

    stage     the large files of both: only those that the Hub does not have
    commit    one commit a repo, on top of the ``main`` that preflight saw
    verify    every file of the commit by its id, nothing downloaded
    tag       ``v<version>`` at that commit

The commit comes about in one of three ways: on ``main`` (``direct.py``), in a pull request
(``proposed.py``), or by merging that (``promoted.py``).

A version is released when both tags are there and the record at each promises the same. The
master is tagged first: of two publishers with other content, the one whose tag was refused
there has written no tag at all, so the two repos are never of two releases.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from release.hub.calls import CallJournal
from release.hub.client import Client
from release.hub.direct import DirectRepo
from release.hub.insist import Patience, one_try
from release.hub.intent import Intent, RepoIntent
from release.hub.promoted import PromotedRepo
from release.hub.proposed import ProposedRepo
from release.hub.transaction import Release, Way
from release.hub.wanted import Wanted
from release.store.locks import KeyLock

REPOS: dict[Way, type[DirectRepo | ProposedRepo | PromotedRepo]] = {
    Way.DIRECT: DirectRepo,
    Way.STAGE: ProposedRepo,
    Way.PROMOTE: PromotedRepo,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceHub:
    """A remote Hub; ``journals`` is the folder in which a publish notes its calls."""

    endpoint: str
    journals: Path
    confirm: Callable[[Intent], None] = lambda _: None
    patience: Patience = field(default_factory=Patience)

    @contextmanager
    def begin(
        self, release: Release, way: Way, *, publishes: bool = True
    ) -> Iterator["HuggingFaceTransaction"]:
        """Take this machine's turn at the Hub for one publish."""
        folder = self.journals / (urlsplit(self.endpoint).hostname or "hub")
        file = folder / f"{release.repos[0].repo.replace('/', '--')}-v{release.version}.jsonl"
        with KeyLock(file.with_suffix(".lock")), one_try(self.patience) as meter:
            digests = {repo.repo: repo.tree.digest for repo in release.repos}
            journal = CallJournal(file, version=release.version, repos=digests)
            client = Client.connect(self.endpoint, self.patience, journal, publishes=publishes)
            repos = tuple(
                REPOS[way](client=client, meter=meter, wanted=Wanted.of(client, repo, release.version))
                for repo in release.repos
            )
            yield HuggingFaceTransaction(hub=self, client=client, release=release, repos=repos)

    def plan(self, release: Release, way: Way = Way.DIRECT) -> tuple[RepoIntent, ...]:
        """Return what publishing would write now; only asks, and needs no token for public repos."""
        with self.begin(release, way, publishes=False) as transaction:
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
    repos: tuple[DirectRepo | ProposedRepo | PromotedRepo, ...]

    def prepare(self) -> None:
        """Check both repos on the Hub, and let the plan be confirmed."""
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
