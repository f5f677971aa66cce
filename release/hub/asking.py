"""Asking a Hub on its own client: with the right token, until it answers, in words of ours.

Each call is insisted on (``insist.py``) and fails with an error that says what to do. A token that
ended meanwhile is exchanged again (``tokens.py``): what was finished before is not done twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self, TypeVar

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from release.errors import GraftsmithError, NetworkError, PublishError
from release.hub import tokens as shown
from release.hub.calls import CallJournal
from release.hub.insist import Patience, insist
from release.hub.secrets import redact
from release.hub.tokens import Tokens

T = TypeVar("T")

RENEWALS = 48
"""How often one call may outlive its token: two days of a token's hours."""


class MeantError(Exception):
    """An answer that the caller waits for: it is no failure, and is passed on as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One Hub, as one account or one CI job."""

    endpoint: str
    tokens: Tokens
    patience: Patience
    journal: CallJournal

    @classmethod
    def connect(
        cls, endpoint: str, patience: Patience, journal: CallJournal, *, publishes: bool = False
    ) -> Self:
        """Return a client that reads, or with ``publishes`` one that may write too."""
        with told("sign in"):
            tokens = shown.to_publish(endpoint) if publishes else shown.to_read(endpoint)
        return cls(endpoint=endpoint, tokens=tokens, patience=patience, journal=journal)

    @property
    def api(self) -> HfApi:
        """The Hub's client for what is about no repo."""
        return self.api_for("")

    def api_for(self, repo: str) -> HfApi:
        """Return the Hub's client with the token for ``repo``."""
        # False: a client without a token must not look for one again.
        return HfApi(endpoint=self.endpoint, token=self.tokens.of(repo) or False, library_name="graftsmith")

    def _headers(self, repo: str = "") -> dict[str, str]:
        token = self.tokens.of(repo)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def ask(
        self,
        what: str,
        call: Callable[[], T],
        *,
        repo: str = "",
        found: Callable[[], T | None] = lambda: None,
    ) -> T:
        """Call until there is an answer; anew with a new token where the one for ``repo`` has ended."""
        with told(what):
            for _ in range(RENEWALS):
                try:
                    return insist(call, self.patience, found=found)
                except Exception as error:
                    if not (_unauthorized(error) and self.tokens.renew(repo)):
                        raise
            return insist(call, self.patience, found=found)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn the client's errors into ours; none of them repeats a secret."""
    try:
        yield
    except (GraftsmithError, MeantError, RevisionNotFoundError):
        raise
    except RepositoryNotFoundError as error:
        raise PublishError(
            f"cannot {what}: the repo is not there, or this token may not see it",
            hint="make it once with: invoke hub-setup",
        ) from error
    except RemoteEntryNotFoundError as error:
        raise PublishError(f"cannot {what}: {said(error)}") from error
    except HfHubHTTPError as error:
        raise PublishError(f"cannot {what}: {said(error)}", hint=_hint(error)) from error
    except ConnectionError as error:  # what Xet raises
        raise NetworkError(
            f"cannot {what}: {redact(str(error))}",
            hint="set HF_HUB_DISABLE_XET=1 for a Hub that has no Xet, then run the same command again",
        ) from error
    except RuntimeError as error:  # what the client wraps a blob's error in
        cause = error.__cause__
        why = said(cause) if isinstance(cause, HfHubHTTPError) else redact(f"{error} {cause or ''}")
        raise PublishError(
            f"cannot {what}: {why}", hint="run the same command again: it continues"
        ) from error


def said(error: HfHubHTTPError) -> str:
    """Return what the Hub answered, without secrets."""
    words = error.server_message or str(error).strip().splitlines()[0]
    return redact(f"{error.response.status_code}: {words}")


def endpoint() -> str:
    """Return the Hub that HF_ENDPOINT names, by default the real one."""
    return constants.ENDPOINT


def _unauthorized(error: BaseException | None) -> bool:
    """Tell whether the Hub refused the token; uploads of blobs wrap what they met."""
    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code == HTTPStatus.UNAUTHORIZED
        error = error.__cause__
    return False


def _hint(error: HfHubHTTPError) -> str:
    match error.response.status_code:
        case HTTPStatus.UNAUTHORIZED:
            return "the token is wrong or has expired; sign in again with: hf auth login"
        case HTTPStatus.FORBIDDEN:
            return "make a fine-grained token with write access to both repos, and set HF_TOKEN"
    return ""
