"""Who publishes: a token for both repos, or none at all where a CI job may say who it is.

    HF_TOKEN          a token of your own
    trusted publisher the job's identity, exchanged for an hour's token of one repo, once for each
    token file        what ``hf auth login`` left

A job offers its identity in GitHub Actions (``permissions: id-token: write``) or, elsewhere, as
HF_OIDC_ID_TOKEN. A token goes to the client and nowhere else.
"""

import os
import time
from dataclasses import dataclass, field
from typing import Protocol

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from release.errors import PublishError
from release.hub.secrets import redact

GITHUB = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
GIVEN = "HF_OIDC_ID_TOKEN"

MARGIN = 300.0
"""Seconds before its end in which a token is exchanged anew; a tenth of its life when that is less."""


class Tokens(Protocol):
    """What is shown to the Hub for each repo."""

    @property
    def account(self) -> str:
        """Who this is, where no account stands behind it."""

    def of(self, repo: str) -> str | None:
        """Return the token for a repo; None asks as anybody."""

    def renew(self, repo: str) -> bool:
        """Tell whether a token that was refused had ended and the next ``of`` gives another."""


@dataclass(frozen=True, slots=True)
class OneToken:
    """A token that an account made, for all repos."""

    token: str | None = field(repr=False)
    account: str = ""

    def of(self, repo: str) -> str | None:  # noqa: ARG002 (one for all)
        """Return the token."""
        return self.token

    def renew(self, repo: str) -> bool:  # noqa: ARG002
        """Say that there is no other."""
        return False


@dataclass(frozen=True, slots=True)
class Granted:
    """A token of one repo. Times in seconds of the monotonic clock."""

    token: str = field(repr=False)
    ends: float
    margin: float


@dataclass(frozen=True, slots=True)
class TrustedPublisher:
    """A CI job's identity, exchanged at ``endpoint`` for a token of each repo."""

    endpoint: str
    account: str = "trusted publisher (no account's token)"
    _granted: dict[str, Granted] = field(default_factory=dict, repr=False)

    def of(self, repo: str) -> str | None:
        """Return the repo's token, exchanged when there is none or it is about to end.

        None for a request that is about no repo. Raises PublishError when the Hub refuses the identity.
        """
        if not repo:
            return None
        found = self._granted.get(repo)
        if found is None or time.monotonic() > found.ends - found.margin:
            found = self._granted[repo] = self._exchange(repo)
        return found.token

    def renew(self, repo: str) -> bool:
        """Tell whether the repo's token has ended; one that was refused before is no token."""
        found = self._granted.get(repo)
        if found is None or time.monotonic() <= found.ends - found.margin:
            return False
        del self._granted[repo]
        return True

    def _exchange(self, repo: str) -> Granted:
        from huggingface_hub._oidc import oidc_login  # it has no public name

        given = os.environ.get(GIVEN) or None
        began = time.monotonic()
        try:
            answer = oidc_login(resource=repo, subject_token=given, provider="github", endpoint=self.endpoint)
        except HfHubHTTPError as error:
            said = error.server_message or str(error).splitlines()[0]
            raise PublishError(
                f"the Hub gives this job no token for {repo}: {redact(said)}",
                why="Each repo names the workflows that may publish to it, and each token is for one repo.",
                hint=f"name this workflow as trusted publisher in {self.endpoint}/{repo}/settings, "
                "or set HF_TOKEN",
            ) from error
        lasts = float(answer["expires_in"])
        return Granted(str(answer["access_token"]), began + lasts, min(MARGIN, lasts / 10))


_PUBLISHERS: dict[str, TrustedPublisher] = {}
"""The one of this process at each endpoint: what is read back after a publish is read with its tokens."""


def to_publish(endpoint: str) -> Tokens:
    """Return what a publish shows: HF_TOKEN, the job's identity, or the token file, in this order."""
    if not os.environ.get("HF_TOKEN") and _offered():
        return _PUBLISHERS.setdefault(endpoint, TrustedPublisher(endpoint))
    return to_read(endpoint)


def to_read(endpoint: str) -> Tokens:
    """Return what a reader shows: nobody's identity is exchanged for it."""
    held = None if os.environ.get("HF_TOKEN") else _PUBLISHERS.get(endpoint)
    return held or OneToken(huggingface_hub.get_token())


def _offered() -> bool:
    return bool(os.environ.get(GIVEN)) or all(os.environ.get(name) for name in GITHUB)
