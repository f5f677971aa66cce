"""The calls about pull requests: open one with a commit, list, merge, close."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import HfHubHTTPError

from release.errors import PublishError
from release.hub.asking import MeantError, said
from release.hub.client import THREADS, Client, operations


class NotMergedError(MeantError):
    """The Hub does not merge the pull request: it is closed, a draft, or in conflict with ``main``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull request: its commit is at ``refs/pr/<num>``."""

    num: int
    title: str
    status: str
    head: str


@dataclass(frozen=True, slots=True)
class PullCalls:
    """One repo's pull requests."""

    client: Client
    repo: str

    def listed(self) -> tuple[Pull, ...]:
        """Return the pull requests, the first one first, whatever their status."""
        repo, client = self.repo, self.client
        heads = client.ask(
            f"read the pull requests of {repo}",
            lambda: client.api_for(repo).list_repo_refs(repo, include_pull_requests=True),
            repo=repo,
        )
        commits = {ref.ref: ref.target_commit for ref in heads.pull_requests or ()}
        if not commits:
            return ()
        found = client.ask(
            f"list the pull requests of {repo}",
            lambda: list(client.api_for(repo).get_repo_discussions(repo, discussion_type="pull_request")),
            repo=repo,
        )
        pulls = [
            Pull(num=pull.num, title=pull.title, status=pull.status, head=commits[f"refs/pr/{pull.num}"])
            for pull in found
            if f"refs/pr/{pull.num}" in commits
        ]
        return tuple(sorted(pulls, key=lambda pull: pull.num))

    def history(self, revision: str) -> set[str]:
        """Return every commit from ``revision`` back to the first."""
        client, repo = self.client, self.repo
        log = client.ask(
            f"read the history of {repo}",
            lambda: client.api_for(repo).list_repo_commits(repo, revision=revision),
            repo=repo,
        )
        return {commit.commit_id for commit in log}

    def open(
        self,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[str],
        title: str,
        *,
        parent: str,
        landed: Callable[[], Pull | None],
    ) -> Pull:
        """Open a pull request with one commit on top of ``parent``.

        ``landed`` looks for it when the answer was lost: each such call would open another one.
        """
        client, repo = self.client, self.repo
        asked = operations(additions, deletions)

        def send() -> Pull:
            made = client.api_for(repo).create_commit(
                repo,
                asked,
                commit_message=title,
                create_pr=True,
                parent_commit=parent,
                num_threads=THREADS,
            )
            if made.pr_num is None:
                raise PublishError(
                    f"{repo}: the Hub opened no pull request", hint="run the same command again"
                )
            return Pull(num=int(made.pr_num), title=title, status="open", head=made.oid)

        pull = client.ask(f"open a pull request on {repo}", send, repo=repo, found=landed)
        client.journal.note("propose", repo, pull.head)
        return pull

    def merge(self, num: int) -> str:
        """Merge a pull request and return the commit on ``main``. Raises NotMergedError."""
        client, repo = self.client, self.repo

        def send() -> str | None:
            try:
                client.api_for(repo).merge_pull_request(repo, num)
            except HfHubHTTPError as error:
                if error.response.status_code not in (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT):
                    raise
                if (commit := self.merged_at(num)) is not None:
                    return commit  # by an earlier try, or by another machine
                raise NotMergedError(said(error)) from error
            return self.merged_at(num)

        commit = client.ask(
            f"merge pull request #{num} of {repo}", send, repo=repo, found=lambda: self.merged_at(num)
        )
        if commit is None:
            raise PublishError(
                f"{repo}: pull request #{num} was merged and names no commit",
                hint="run the same command again: it finds what main holds",
            )
        return commit

    def merged_at(self, num: int) -> str | None:
        """Return the commit by which a pull request was merged, or None."""
        client, repo = self.client, self.repo
        found = client.ask(
            f"read pull request #{num} of {repo}",
            lambda: client.api_for(repo).get_discussion_details(repo, num),
            repo=repo,
        )
        return found.merge_commit_oid if found.status == "merged" else None

    def close(self, num: int) -> None:
        """Close a pull request without merging it."""
        client, repo = self.client, self.repo
        client.ask(
            f"close pull request #{num} of {repo}",
            lambda: client.api_for(repo).change_discussion_status(repo, num, "closed"),
            repo=repo,
        )
        client.journal.note("close", repo)
