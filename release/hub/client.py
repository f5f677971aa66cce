"""The calls that a publish makes to a Hub, on the Hub's own client.

Each call is insisted on (``insist.py``), noted in the journal once it was answered, and fails
with an error that says what to do. The token goes from the environment, or from the client's
token file, to the client, and nowhere else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

import huggingface_hub
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
    constants,
    get_session,
    hf_hub_url,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import hf_raise_for_status

from release.errors import GraftsmithError, NetworkError, PublishError
from release.hub.calls import CallJournal
from release.hub.files import RemoteFile
from release.hub.insist import Patience, insist
from release.hub.secrets import redact

T = TypeVar("T")

THREADS = 4


class StaleParentError(Exception):
    """The branch is no longer where the commit was meant to go."""


class TagTakenError(Exception):
    """The tag is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One Hub, as one account."""

    api: HfApi
    patience: Patience
    journal: CallJournal

    @classmethod
    def connect(cls, endpoint: str, patience: Patience, journal: CallJournal) -> "Client":
        """Return a client with the token of HF_TOKEN or of the client's token file."""
        with _told("sign in"):
            token = huggingface_hub.get_token()
        # False: a client without a token must not look for one again.
        api = HfApi(endpoint=endpoint, token=token or False, library_name="graftsmith")
        return cls(api=api, patience=patience, journal=journal)

    def whoami(self) -> str:
        """Return the account's name. Raises PublishError when the token cannot write at all."""
        if not self.api.token:
            raise PublishError(
                "there is no token for the Hub",
                hint="set HF_TOKEN (a fine-grained token for both repos), or sign in with: hf auth login",
            )
        found = self._ask("ask who you are", self.api.whoami)
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
        self._ask(f"write to {repo}", lambda: self.api.auth_check(repo, write=True))
        self.journal.note("may-write", repo)

    def check_card(self, repo: str, text: str) -> None:
        """Raise PublishError when the Hub refuses the card's metadata."""
        url = f"{self.api.endpoint}/api/validate-yaml"
        asked = {"content": text, "repoType": "model"}
        answer = self._ask(
            f"check the card of {repo}",
            lambda: get_session().post(url, json=asked, headers=self._headers()),
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
        self._ask(f"create {repo}", lambda: self.api.create_repo(repo, visibility=visibility, exist_ok=True))

    def refs(self, repo: str) -> tuple[str, dict[str, str]]:
        """Return where ``main`` is, and the commit of each tag."""
        found = self._ask(f"read the tags of {repo}", lambda: self.api.list_repo_refs(repo))
        main = next((branch.target_commit for branch in found.branches if branch.name == "main"), None)
        if main is None:
            raise PublishError(f"{repo} has no branch main", hint="make it with: invoke hub-setup")
        return main, {tag.name: tag.target_commit for tag in found.tags}

    def files(self, repo: str, revision: str) -> dict[str, RemoteFile]:
        """Return the files at a revision."""
        listed = self._ask(
            f"list {repo}", lambda: list(self.api.list_repo_tree(repo, recursive=True, revision=revision))
        )
        return {
            entry.path: RemoteFile(
                size=entry.size, git_oid=entry.blob_id, sha256=entry.lfs.sha256 if entry.lfs else None
            )
            for entry in listed
            if isinstance(entry, RepoFile)
        }

    def read(self, repo: str, path: str, revision: str) -> bytes | None:
        """Return a small file at a revision, or None when it is not there."""
        url = hf_hub_url(repo, path, revision=revision, endpoint=self.api.endpoint)

        def get() -> bytes | None:
            response = get_session().get(url, headers=self._headers())
            if response.status_code == HTTPStatus.NOT_FOUND:
                return None
            hf_raise_for_status(response)
            return response.content

        return self._ask(f"read {path} of {repo}", get)

    def part(self, repo: str, path: str, revision: str, begin: int, end: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of a file. Raises PublishError when other bytes come."""
        url = hf_hub_url(repo, path, revision=revision, endpoint=self.api.endpoint)
        wanted = {**self._headers(), "Range": f"bytes={begin}-{end - 1}"}

        def get() -> bytes:
            response = get_session().get(url, headers=wanted)
            hf_raise_for_status(response)
            if response.status_code != HTTPStatus.PARTIAL_CONTENT or len(response.content) != end - begin:
                raise PublishError(f"{repo}: the Hub did not send bytes {begin} to {end} of {path}")
            return response.content

        return self._ask(f"read a part of {path} of {repo}", get)

    def send_blobs(self, repo: str, additions: Sequence[CommitOperationAdd]) -> None:
        """Send the large files that the Hub does not have: before each try it says which."""
        self._ask(
            f"send files to {repo}",
            lambda: self.api.preupload_lfs_files(repo, additions, free_memory=False, num_threads=THREADS),
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
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *additions,
            *(CommitOperationDelete(path) for path in deletions),
        ]

        def send() -> str:
            try:
                made = self.api.create_commit(
                    repo, operations, commit_message=message, parent_commit=parent, num_threads=THREADS
                )
            except HfHubHTTPError as error:
                if error.response.status_code == HTTPStatus.PRECONDITION_FAILED:
                    raise StaleParentError from error
                raise
            return made.oid

        oid = self._ask(f"commit to {repo}", send, found=landed)
        self.journal.note("commit", repo, oid)
        return oid

    def tag(self, repo: str, name: str, commit: str, message: str) -> None:
        """Pin a commit by a name. Raises TagTakenError when the name pins something."""

        def send() -> bool:
            try:
                self.api.create_tag(repo, tag=name, revision=commit, tag_message=message)
            except HfHubHTTPError as error:
                if error.response.status_code == HTTPStatus.CONFLICT:
                    raise TagTakenError from error
                raise
            return True

        def stands() -> bool | None:
            return True if self.refs(repo)[1].get(name) == commit else None

        self._ask(f"tag {repo}", send, found=stands)
        self.journal.note("tag", repo, commit)

    def untag(self, repo: str, name: str) -> None:
        """Take a tag away, or find it gone."""

        def gone() -> bool | None:
            return None if name in self.refs(repo)[1] else True

        def send() -> bool:
            try:
                self.api.delete_tag(repo, tag=name)
            except RevisionNotFoundError:
                return True
            return True

        self._ask(f"take the tag {name} of {repo} away", send, found=gone)
        self.journal.note("untag", repo)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api.token}"} if self.api.token else {}

    def _ask(self, what: str, call: Callable[[], T], *, found: Callable[[], T | None] = lambda: None) -> T:
        with _told(what):
            return insist(call, self.patience, found=found)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn the client's errors into ours; none of them repeats a secret."""
    try:
        yield
    except (GraftsmithError, StaleParentError, TagTakenError, RevisionNotFoundError):
        raise
    except RepositoryNotFoundError as error:
        raise PublishError(
            f"cannot {what}: the repo is not there, or this token may not see it",
            hint="make it once with: invoke hub-setup",
        ) from error
    except RemoteEntryNotFoundError as error:
        raise PublishError(f"cannot {what}: {_said(error)}") from error
    except HfHubHTTPError as error:
        raise PublishError(f"cannot {what}: {_said(error)}", hint=_hint(error)) from error
    except ConnectionError as error:  # what Xet raises
        raise NetworkError(
            f"cannot {what}: {redact(str(error))}",
            hint="set HF_HUB_DISABLE_XET=1 for a Hub that has no Xet, then run the same command again",
        ) from error
    except RuntimeError as error:  # what the client wraps a blob's error in
        cause = error.__cause__
        said = _said(cause) if isinstance(cause, HfHubHTTPError) else redact(f"{error} {cause or ''}")
        raise PublishError(
            f"cannot {what}: {said}", hint="run the same command again: it continues"
        ) from error


def _said(error: HfHubHTTPError) -> str:
    said = error.server_message or str(error).strip().splitlines()[0]
    return redact(f"{error.response.status_code}: {said}")


def _hint(error: HfHubHTTPError) -> str:
    match error.response.status_code:
        case HTTPStatus.UNAUTHORIZED:
            return "the token is wrong or has expired; sign in again with: hf auth login"
        case HTTPStatus.FORBIDDEN:
            return "make a fine-grained token with write access to both repos, and set HF_TOKEN"
    return ""


def endpoint() -> str:
    """Return the Hub that HF_ENDPOINT names, by default the real one."""
    return constants.ENDPOINT
