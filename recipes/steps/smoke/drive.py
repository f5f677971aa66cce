"""A drive: real chat requests, a fixed number of them in flight, timed as a whole.

One failed request voids the drive, since a figure over the others would describe
an easier battery than the one that is named beside it. Tokens are the server's own
``usage``, never counted from text.
"""

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from recipes.formats.step import StepError
from recipes.steps.smoke import loopback
from recipes.steps.smoke.battery import Prompt
from recipes.steps.smoke.profile import MODEL_NAME, Sampling
from recipes.steps.smoke.sampling import pinned

PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a drive, complete: the body holds every sampling field."""

    id: str
    domain: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """What the draft head did for one reply: verify steps, and tokens proposed and kept."""

    drafts: int
    draft_tokens: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. ``drafts`` is None when the server drafts nothing or does not tell."""

    id: str
    domain: str
    text: str
    reasoning: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    drafts: Drafts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Every reply, in the order of the requests, and the wall time of them all."""

    replies: tuple[Reply, ...]
    wall_s: float

    @property
    def tokens(self) -> int:
        """Tokens that the server generated."""
        return sum(reply.completion_tokens for reply in self.replies)


def natural(prompts: Sequence[Prompt], sampling: Sampling) -> list[Request]:
    """Return one request per prompt that ends where the model ends it."""
    return [_request(prompt, sampling, at, {}) for at, prompt in enumerate(prompts)]


def fixed_length(prompts: Sequence[Prompt], sampling: Sampling, count: int, tokens: int) -> list[Request]:
    """Return ``count`` requests of exactly ``tokens`` tokens, prompts taken in turn."""
    length = {"max_tokens": tokens, "ignore_eos": True}
    return [_request(prompts[at % len(prompts)], sampling, at, length) for at in range(count)]


def drive(
    port: int,
    requests: Sequence[Request],
    concurrency: int,
    timeout_s: float,
    done: Callable[[int, Reply], None] = lambda *_: None,
) -> Drive:
    """Send ``requests``, ``concurrency`` at a time, and return every reply.

    ``done`` is called with the number of replies so far and the last one. Raises StepError when a
    request fails; those not yet sent are dropped.
    """
    start = time.monotonic()
    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(_ask, port, request, timeout_s) for request in requests]
        try:
            for count, future in enumerate(as_completed(futures), 1):
                done(count, future.result())
        except StepError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Drive(
        replies=tuple(future.result() for future in futures),
        wall_s=time.monotonic() - start,
    )


def _request(prompt: Prompt, sampling: Sampling, at: int, length: Mapping[str, object]) -> Request:
    body: dict[str, object] = {
        "model": MODEL_NAME,
        "messages": prompt.messages,
        "chat_template_kwargs": {"enable_thinking": prompt.thinking},
        **pinned(sampling, at),
        **length,
    }
    if prompt.tools:
        # "none" renders the tools into the prompt and asks for no parser of the call.
        body |= {"tools": prompt.tools, "tool_choice": "none"}
    return Request(id=prompt.id, domain=prompt.domain, body=body)


def _ask(port: int, request: Request, timeout_s: float) -> Reply:
    try:
        status, text = loopback.post(port, PATH, json.dumps(request.body).encode(), timeout_s)
    except (OSError, http.client.HTTPException) as error:
        raise StepError(f"request {request.id} failed: {error!r}; the drive is void") from error
    if status != http.client.OK:
        raise StepError(f"request {request.id} failed: status {status}: {text[:500]}; the drive is void")
    try:
        return _reply(request, json.loads(text))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise StepError(
            f"request {request.id}: not a chat completion ({error!r}): {text[:500]}; the drive is void"
        ) from error


def _reply(request: Request, data: Mapping[str, object]) -> Reply:
    match data:
        case {
            "choices": [{"message": dict() as message, "finish_reason": str(reason)}],
            "usage": {"prompt_tokens": int(prompt), "completion_tokens": int(completion)},
        }:
            return Reply(
                id=request.id,
                domain=request.domain,
                text=str(message.get("content") or ""),
                reasoning=str(message.get("reasoning") or message.get("reasoning_content") or ""),
                finish_reason=reason,
                prompt_tokens=prompt,
                completion_tokens=completion,
                drafts=_drafts(data.get("metrics")),
            )
    raise ValueError("expected one choice with message and finish_reason, and usage")


def _drafts(metrics: object) -> Drafts | None:
    match metrics:
        case {
            "speculative_decoding": {
                "num_spec_steps": int(steps),
                "num_draft_tokens": int(proposed),
                "num_accepted_draft_tokens": int(kept),
            }
        }:
            return Drafts(drafts=steps, draft_tokens=proposed, accepted=kept)
    return None
