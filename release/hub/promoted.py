"""A repo whose staged release becomes ``main``: its pull request is merged, and the merge is tagged.

A merge has no guard of its own. What it would give is known before (the pull request is the
release and stands on top of ``main``), and what it gave is verified after; only that is tagged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from release.errors import PublishError
from release.hub.files import RemoteFile
from release.hub.pull_calls import NotMergedError, Pull
from release.hub.pulls import Pulls
from release.hub.remote_repo import RemoteRepo


@dataclass(slots=True, kw_only=True)
class PromotedRepo(RemoteRepo):
    """One repo of a release that is promoted (``invoke promote``)."""

    pull: Pull | None = None

    @property
    def pulls(self) -> Pulls:
        """The pull requests of this version."""
        return Pulls(client=self.client, wanted=self.wanted)

    def see(self) -> None:
        """Find the pull request, or the commit that it became.

        Raises PublishError when there is neither, or when the pull request is not what was staged.
        """
        main, _ = self.client.refs(self.name)
        self.before = self.client.files(self.name, main)
        ours = self.client.journal.committed(self.name)
        self.made = self.wanted.exactly_at(main) or self.wanted.exactly_at(ours)
        if self.made is None:
            self.pull = self.pulls.staged(main)
        if self.made is None and self.pull is None:
            self.made = self.pulls.merged()
        if self.made is None and self.pull is None:
            raise PublishError(
                f"{self.name} has no pull request that stages {self.wanted.tag}",
                why="Nothing was merged.",
                hint=f"open it with: invoke release --version {self.wanted.version} --hub hf --stage",
            )

    def holds(self, commit: str, there: Mapping[str, RemoteFile]) -> bool:  # noqa: ARG002 (told by its files)
        """Tell whether a commit holds exactly what was staged: anybody may open a pull request."""
        return not self.wanted.local.differences(there)

    def how(self) -> str:
        """Say which pull request is merged."""
        return f"merges pull request #{self.pull.num}" if self.pull else "is on main"

    def stage(self) -> None:
        """Send nothing: the pull request holds everything."""

    def commit(self) -> None:
        """Merge the pull request, or find it merged."""
        if self.made is not None:
            return
        assert self.pull is not None, "seen before"
        try:
            commit = self.pulls.calls.merge(self.pull.num)
        except NotMergedError as error:
            self.pulls.staged(self.client.refs(self.name)[0])  # says what became of it
            raise PublishError(
                f"pull request #{self.pull.num} of {self.name} cannot be merged: {error}",
                why="Nothing was tagged.",
                hint="look at it on the Hub, then run the same command again",
            ) from error
        if self.wanted.exactly_at(commit) is None:
            raise PublishError(
                f"{self.name}: main or pull request #{self.pull.num} moved while it was merged",
                why="main now holds something else; it is not tagged, and readers of versions see nothing.",
                hint=f"stage again with: invoke release --version {self.wanted.version} --hub hf --stage",
            )
        self.client.journal.note("commit", self.name, commit)
        self.made = commit
