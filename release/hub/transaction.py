"""The transaction that publishes two repos as one release, on any Hub.

No Hub has a transaction over two repos. What can fail, and takes long, comes first and is
invisible to readers; the two names that readers pin come last:

    stage    the bytes of both        invisible, resumable
    commit   the tree of both         complete, not yet pinned by a name
    verify   both                     what is there is what was meant
    tag      both                     readers see v<version>

A publish that was killed anywhere continues with the same command: each part adopts what
is complete and equal. A release can stop before the names (``Way.STAGE``) to be looked at, and
get them later, from what then waits there (``Way.PROMOTE``).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from release.digest import Tree
from release.errors import ConflictError, UsageError
from release.hub import preflight
from release.hub.record import check, read
from release.record import Record
from release.reponame import RepoName


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoTree:
    """One repo's files: ``root`` is a folder that holds exactly ``tree``.

    ``locked`` names files that must be those of the lock, by their sha256.
    """

    repo: str
    root: Path
    tree: Tree
    locked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Both repos of one version; the master comes first."""

    version: str
    repos: tuple[RepoTree, RepoTree]

    def __post_init__(self) -> None:
        import semver  # not before somebody publishes

        if not semver.Version.is_valid(self.version):
            raise UsageError(f"{self.version!r} is not a version", hint="write it like 1.0.0 or 1.1.0-rc.1")
        names = [RepoName.parse(repo.repo) for repo in self.repos]
        if str(names[0]).lower() == str(names[1]).lower():
            raise UsageError(f"both repos of the release are called {names[0]}")


class State(Enum):
    """What a publish did."""

    PUBLISHED = "published"
    ALREADY = "already"
    STAGED = "staged"


class Way(Enum):
    """How far a publish goes, and from where."""

    DIRECT = "direct"
    """Send, commit, verify, tag."""
    STAGE = "stage"
    """Send, commit where no reader looks (a pull request, a hidden folder), verify."""
    PROMOTE = "promote"
    """Send nothing: what was staged becomes the commit; verify, tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One repo as readers see it. ``sums`` is what ``sha256sum SHA256SUMS`` prints there.

    ``commit`` is what a remote Hub's tag pins, and ``revision`` what a reader types for it; ``sent`` of
    ``size`` bytes were sent now, None where the client does not tell.
    """

    repo: str
    where: str
    sums: str
    commit: str = ""
    revision: str = ""
    sent: int | None = 0
    size: int = 0
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a publish did, and what stands there now."""

    state: State
    version: str
    repos: tuple[Published, ...]


class Repo(Protocol):
    """One repo's end of a transaction. Every method may be called again after a kill."""

    def find(self) -> Record | None:
        """Return the record of this version, or None when readers do not see it."""

    def stage(self) -> None:
        """Bring the bytes over, invisible to readers."""

    def commit(self) -> None:
        """Make the staged bytes one complete tree, not yet pinned by a name."""

    def verify(self) -> None:
        """Compare the committed tree with what was meant. Raises PublishError."""

    def tag(self) -> None:
        """Pin the committed tree as this version: from here on readers see it."""

    def published(self) -> Published:
        """Say where readers find it."""


class Transaction(Protocol):
    """One publish of one release to one Hub."""

    @property
    def repos(self) -> tuple[Repo, ...]:
        """The ends of the release's repos, in its order."""

    def prepare(self) -> None:
        """Check all that can be checked before a byte is sent, and note what is coming."""

    def finish(self) -> None:
        """Clear the note: both names stand."""


class Hub(Protocol):
    """A place for releases."""

    def begin(self, release: Release, way: Way) -> AbstractContextManager[Transaction]:
        """Take the Hub for one publish: nobody else publishes there until it ends."""


def publish(hub: Hub, release: Release, way: Way = Way.DIRECT) -> Outcome:
    """Publish both repos, or find them published with the same lock and promised bytes.

    With ``Way.STAGE`` nothing is tagged; with ``Way.PROMOTE`` what was staged is. Raises ConflictError
    when the version stands there with other content, PublishError when what was written is not what was
    meant or what was staged is not there any more, MachineError when the disk is too small.
    """
    records = tuple(read(repo.root, repo.tree) for repo in release.repos)
    check(records, release.version, tuple(repo.repo for repo in release.repos))
    with hub.begin(release, way) as transaction:
        repos = transaction.repos
        missing = [repo for repo, record in zip(repos, records, strict=True) if not _stands(repo, record)]
        if missing:
            for source in release.repos:
                preflight.check(source.root, source.tree, source.locked)
            transaction.prepare()
            _write(missing, way)
        if not (missing and way is Way.STAGE):
            transaction.finish()
        return Outcome(
            state=_state(way) if missing else State.ALREADY,
            version=release.version,
            repos=tuple(repo.published() for repo in repos),
        )


def _write(repos: list[Repo], way: Way) -> None:
    for repo in repos:
        repo.stage()
    for repo in repos:
        repo.commit()
    for repo in repos:
        repo.verify()
    if way is not Way.STAGE:
        for repo in repos:
            repo.tag()


def _state(way: Way) -> State:
    return State.STAGED if way is Way.STAGE else State.PUBLISHED


def _stands(repo: Repo, meant: Record) -> bool:
    found = repo.find()
    if found is None:
        return False
    if not found.promises(meant) or found.repo != meant.repo:
        differences = "\n".join(f"  {line}" for line in meant.differences(found)) or f"  it is {found.repo}"
        raise ConflictError(
            f"{meant.repo} v{meant.version} is already published with other content:\n{differences}",
            why="A published version never changes; nothing was written.",
            hint="release under a new version, or go back to the lock of the published one",
        )
    return True
