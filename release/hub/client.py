"""The calls that a publish makes to a Hub; each is noted in the journal once it was answered.

What stands behind every call (token, patience, words of an error) is in ``asking.py``; calls about
pull requests are in ``pull_calls.py``.
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    get_session,
    hf_hub_url,
)
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError
from huggingface_hub.utils import hf_raise_for_status

from release.errors import PublishError
from release.hub.asking import Asking, MeantError, endpoint
from release.hub.files import RemoteFile
from release.hub.listing import listed
from release.hub.secrets import redact

__all__ = ["Client", "Operation", "StaleParentError", "TagTakenError", "endpoint", "operations"]

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

THREADS = 4


class StaleParentError(MeantError):
    """The branch is no longer where the commit was meant to go."""


class TagTakenError(MeantError):
    """The tag is there."""


class Client(Asking):
    """One Hub, as one account or one CI job."""

    __slots__ = ()

    def whoami(self) -> str:
        """Return the account's name. Raises PublishError when the token cannot write at all.

        A trusted publisher has no account: each repo says itself whether it may write.
        """
        if self.tokens.account:
            self.journal.note("whoami")
            return self.tokens.account
        if not self.tokens.of(""):
            raise PublishError(
                "there is no token for the Hub",
                hint="set HF_TOKEN (a fine-grained token for both repos), or sign in with: hf auth login",
            )
        found = self.ask("ask who you are", lambda: self.api.whoami())
        role = found.get("auth", {}).get("accessToken", {}).get("role", "")
        if role == "read":
            raise PublishError(
                f"the token of {found['name']} can only read",
                hint="make a fine-grained token with write access to these two repos, and set HF_TOKEN",
            )
        self.journal.note("whoami")
        return str(found["name"])

    def check_write(self, repo: str) -> None:
        """Raise PublishError when this account may not write to ``repo``."""
        self.ask(f"write to {repo}", lambda: self.api_for(repo).auth_check(repo, write=True), repo=repo)
        self.journal.note("may-write", repo)

    def check_card(self, repo: str, text: str) -> None:
        """Raise PublishError when the Hub refuses the card's metadata."""
        url = f"{self.endpoint}/api/validate-yaml"
        asked = {"content": text, "repoType": "model"}
        answer = self.ask(
            f"check the card of {repo}",
            lambda: get_session().post(url, json=asked, headers=self._headers(repo)),
            repo=repo,
        )
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise PublishError(
                f"the Hub refuses the metadata of {repo}'s README.md: {redact(answer.text[:500])}",
                hint="correct the template in recipes/templates",
            )
        self.journal.note("card", repo)

    def create(self, repo: str, *, private: bool) -> None:
        """Make a repo, or find it made."""
        visibility: Literal["private", "public"] = "private" if private else "public"
        self.ask(
            f"create {repo}",
            lambda: self.api_for(repo).create_repo(repo, visibility=visibility, exist_ok=True),
            repo=repo,
        )

    def refs(self, repo: str) -> tuple[str, dict[str, str]]:
        """Return where ``main`` is, and the commit of each tag."""
        found = self.ask(
            f"read the tags of {repo}", lambda: self.api_for(repo).list_repo_refs(repo), repo=repo
        )
        main = next((branch.target_commit for branch in found.branches if branch.name == "main"), None)
        if main is None:
            raise PublishError(f"{repo} has no branch main", hint="make it with: invoke hub-setup")
        return main, {tag.name: tag.target_commit for tag in found.tags}

    def files(self, repo: str, revision: str) -> dict[str, RemoteFile]:
        """Return the files at a revision."""
        return self.ask(f"list {repo}", lambda: listed(self.api_for(repo), repo, revision), repo=repo)

    def read(self, repo: str, path: str, revision: str) -> bytes | None:
        """Return a small file at a revision, or None when it is not there."""
        url = hf_hub_url(repo, path, revision=revision, endpoint=self.endpoint)

        def get() -> bytes | None:
            response = get_session().get(url, headers=self._headers(repo))
            if response.status_code == HTTPStatus.NOT_FOUND:
                return None
            hf_raise_for_status(response)
            return response.content

        return self.ask(f"read {path} of {repo}", get, repo=repo)

    def part(self, repo: str, path: str, revision: str, begin: int, end: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of a file. Raises PublishError when other bytes come."""
        url = hf_hub_url(repo, path, revision=revision, endpoint=self.endpoint)

        def get() -> bytes:
            wanted = {**self._headers(repo), "Range": f"bytes={begin}-{end - 1}"}
            response = get_session().get(url, headers=wanted)
            hf_raise_for_status(response)
            if response.status_code != HTTPStatus.PARTIAL_CONTENT or len(response.content) != end - begin:
                raise PublishError(f"{repo}: the Hub did not send bytes {begin} to {end} of {path}")
            return response.content

        return self.ask(f"read a part of {path} of {repo}", get, repo=repo)

    def send_blobs(self, repo: str, additions: Sequence[CommitOperationAdd]) -> None:
        """Send the large files that the Hub does not have: before each try it says which."""
        self.ask(
            f"send files to {repo}",
            lambda: self.api_for(repo).preupload_lfs_files(
                repo, additions, free_memory=False, num_threads=THREADS
            ),
            repo=repo,
        )
        self.journal.note("blobs", repo)

    def commit(
        self,
        repo: str,
        additions: Sequence[CommitOperationAdd | CommitOperationCopy],
        deletions: Sequence[str],
        message: str,
        *,
        parent: str,
        landed: Callable[[], str | None],
    ) -> str:
        """Make one commit on top of ``parent`` and return it.

        ``landed`` looks for it when the answer was lost. Raises StaleParentError when ``main``
        is not at ``parent``: then nothing was written.
        """
        asked = operations(additions, deletions)

        def send() -> str:
            try:
                made = self.api_for(repo).create_commit(
                    repo, asked, commit_message=message, parent_commit=parent, num_threads=THREADS
                )
            except HfHubHTTPError as error:
                if error.response.status_code == HTTPStatus.PRECONDITION_FAILED:
                    raise StaleParentError from error
                raise
            return made.oid

        oid = self.ask(f"commit to {repo}", send, repo=repo, found=landed)
        self.journal.note("commit", repo, oid)
        return oid

    def tag(self, repo: str, name: str, commit: str, message: str) -> None:
        """Pin a commit by a name. Raises TagTakenError when the name pins something."""

        def send() -> bool:
            try:
                self.api_for(repo).create_tag(repo, tag=name, revision=commit, tag_message=message)
            except HfHubHTTPError as error:
                if error.response.status_code == HTTPStatus.CONFLICT:
                    raise TagTakenError from error
                raise
            return True

        def stands() -> bool | None:
            return True if self.refs(repo)[1].get(name) == commit else None

        self.ask(f"tag {repo}", send, repo=repo, found=stands)
        self.journal.note("tag", repo, commit)

    def untag(self, repo: str, name: str) -> None:
        """Take a tag away, or find it gone."""

        def gone() -> bool | None:
            return None if name in self.refs(repo)[1] else True

        def send() -> bool:
            try:
                self.api_for(repo).delete_tag(repo, tag=name)
            except RevisionNotFoundError:
                return True
            return True

        self.ask(f"take the tag {name} of {repo} away", send, repo=repo, found=gone)
        self.journal.note("untag", repo)


def operations(
    additions: Sequence[CommitOperationAdd | CommitOperationCopy], deletions: Sequence[str]
) -> list[Operation]:
    """Return what one commit does, in the client's words."""
    return [*additions, *(CommitOperationDelete(path) for path in deletions)]
