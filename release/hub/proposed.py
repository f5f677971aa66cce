"""A repo whose release waits in a pull request: readers of ``main`` and of versions see nothing of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from release.hub.files import RemoteFile
from release.hub.pull_calls import Pull
from release.hub.pulls import Pulls
from release.hub.remote_repo import SendingRepo
from release.hub.transaction import Published


@dataclass(slots=True, kw_only=True)
class ProposedRepo(SendingRepo):
    """One repo of a release that is staged (``invoke release --stage``)."""

    pull: Pull | None = None
    """The pull request; None where ``main`` holds the release by an earlier publish."""

    @property
    def pulls(self) -> Pulls:
        """The pull requests of this version."""
        return Pulls(client=self.client, wanted=self.wanted)

    def see(self) -> None:
        """Remember where ``main`` is, and the pull request of this release when there is one."""
        SendingRepo.see(self)
        if self.made is None and (pull := self.pulls.staged(self.head)) is not None:
            self.pull, self.made = pull, pull.head

    def holds(self, commit: str, there: Mapping[str, RemoteFile]) -> bool:
        """Tell whether a commit is what was meant; in a pull request, exactly."""
        if self.pull is None:
            return SendingRepo.holds(self, commit, there)
        return not self.wanted.local.differences(there)

    def how(self) -> str:
        """Say what becomes of the pull request."""
        if self.pull is not None:
            return f"pull request #{self.pull.num} is open"
        return "is on main" if self.made else "opens a pull request"

    def commit(self) -> None:
        """Open one pull request with one commit, or find it open."""
        if self.made is not None:
            return
        self.pull = self.pulls.calls.open(
            self.additions,
            self.wanted.local.strays(self.before),
            self.pulls.title,
            parent=self.head,
            landed=lambda: self.pulls.staged(self.head),
        )
        self._agree(self.pull)
        self.made = self.pull.head

    def published(self) -> Published:
        """Return the page of the pull request."""
        if self.pull is None:
            assert self.made is not None, "found before"
            tag = self.wanted.tag if self.tagged else self.made
            return self.shown(self.made, tag, f"tree/{tag}")
        page = f"discussions/{self.pull.num}"
        return self.shown(self.pull.head, f"refs/pr/{self.pull.num}", page)

    def _agree(self, opened: Pull) -> None:
        """Leave one pull request open where two machines opened one each: the first."""
        first = self.pulls.staged(self.head)
        if first is not None and first.num < opened.num:
            self.pulls.calls.close(opened.num)
            self.pull = first
