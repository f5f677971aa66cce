"""Asking a Hub until it answers, without ever doing a thing twice.

A request that gets no answer, or "not now", may have been done all the same. What only reads
is asked again. What writes is compared first: ``insist`` asks ``found`` whether the thing
stands before it sends it once more.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError

from release.errors import NetworkError
from release.hub.secrets import redact

if TYPE_CHECKING:  # the types of a method that is overridden have no public names
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

T = TypeVar("T")

NOT_NOW = (408, 429, 500, 502, 503, 504)
CONNECT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a Hub is asked. Seconds; each wait is twice the one before, up to ``longest``."""

    tries: int = 8
    first: float = 1.0
    longest: float = 120.0
    silence: float = 120.0
    """Without a byte for this long a request counts as not answered; a commit takes up to 60 s."""

    def wait(self, attempt: int, asked: float | None) -> float:
        """Return the seconds before the next try; a wait that the Hub asks for is kept."""
        own: float = self.first * 2**attempt
        return max(min(own, self.longest), asked or 0.0)


class UnansweredError(Exception):
    """A request without an answer. Whether it was done is not known."""

    def __init__(self, what: str, reason: str, wait: float | None = None) -> None:
        super().__init__(f"{what}: {reason}")
        self.wait = wait


class Meter:
    """Bytes of blobs that were sent and taken."""

    def __init__(self) -> None:
        self.sent = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        """Add bytes, from any thread."""
        with self._lock:
            self.sent += count


def insist(call: Callable[[], T], patience: Patience, *, found: Callable[[], T | None] = lambda: None) -> T:
    """Call until there is an answer, or until ``found`` says that an unanswered call was done.

    Raises NetworkError when the tries are used up.
    """
    for attempt in range(patience.tries):
        try:
            return call()
        except Exception as error:
            unanswered = _unanswered(error)
            if unanswered is None:
                raise
            last = unanswered
        if attempt + 1 < patience.tries:
            time.sleep(patience.wait(attempt, last.wait))
        if (done := found()) is not None:
            return done
    raise NetworkError(
        f"the Hub does not answer: {redact(str(last))}",
        why=f"It was asked {patience.tries} times. Nothing is lost: what it has by now is not sent again.",
        hint="run the same command again later",
    ) from last


@contextmanager
def one_try(patience: Patience) -> Iterator[Meter]:
    """Let the client send each request once: retrying is decided here, in one place.

    The client would resend a blob whose answer was lost, although the Hub has it. A part of a
    blob is left to the client: nobody can ask whether it is there, and it alone is sent again.
    """
    meter = Meter()
    set_client_factory(lambda: _OneTry(meter, patience))
    handlers = logging.getLogger("huggingface_hub").handlers
    for handler in handlers:
        handler.addFilter(_redacted)
    try:
        yield meter
    finally:
        for handler in handlers:
            handler.removeFilter(_redacted)
        from huggingface_hub.utils._http import default_client_factory  # it has no public name

        set_client_factory(default_client_factory)


class _OneTry(httpx2.Client):
    """The client's HTTP client; "no answer" and "not now" leave it as UnansweredError."""

    def __init__(self, meter: Meter, patience: Patience) -> None:
        super().__init__(
            follow_redirects=True, timeout=httpx2.Timeout(patience.silence, connect=CONNECT_SECONDS)
        )
        self._meter = meter

    def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: "AuthTypes | UseClientDefault | None" = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: "bool | UseClientDefault" = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        if request.method == "PUT" and "partNumber" in request.url.params:
            return self._counted(super().send(request, stream=stream, auth=auth))
        what = f"{request.method} {request.url.copy_with(query=None)}"
        if constants.is_offline_mode():
            raise NetworkError("HF_HUB_OFFLINE is set", hint="unset it to publish")
        try:
            response = super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        except httpx2.TransportError as error:
            raise UnansweredError(what, str(error) or type(error).__name__) from error
        if response.status_code in NOT_NOW:
            wait = _asked_wait(response)
            response.close()
            raise UnansweredError(what, f"HTTP {response.status_code}", wait)
        return self._counted(response)

    def _counted(self, response: httpx2.Response) -> httpx2.Response:
        if response.request.method == "PUT" and response.is_success:
            self._meter.add(int(response.request.headers.get("Content-Length", 0)))
        return response


def _asked_wait(response: httpx2.Response) -> float | None:
    """Return the seconds that the answer asks to wait: Retry-After, or the reset of RateLimit."""
    after = response.headers.get("Retry-After", "")
    if after.isdigit():
        return float(after)
    limits = response.headers.get("RateLimit", "").replace(" ", "").split(";")
    return next((float(limit[2:]) for limit in limits if limit[:2] == "t=" and limit[2:].isdigit()), None)


def _unanswered(error: BaseException) -> UnansweredError | None:
    """Return what lies behind an error of the client: uploads of blobs wrap theirs."""
    seen: BaseException | None = error
    while seen is not None:
        match seen:
            case UnansweredError():
                return seen
            case HfHubHTTPError() if seen.response.status_code in NOT_NOW:
                return UnansweredError("send a part", f"HTTP {seen.response.status_code}")
            case httpx2.TransportError():
                return UnansweredError("send a part", str(seen) or type(seen).__name__)
        seen = seen.__cause__
    return None


def _redacted(record: logging.LogRecord) -> bool:
    """Take secrets and signed addresses out of what the client logs."""
    record.msg, record.args = redact(record.getMessage()), ()
    return True
