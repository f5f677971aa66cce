"""One turn with the server, as a client sees it: whole, or in the pieces of a stream."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.formats.step import StepError
from recipes.steps.smoke import loopback

PATH = "/v1/chat/completions"
_DATA = "data: "
_END = "[DONE]"
PROMPT_END = 40
"""Tokens at the end of a prompt that hold its think block, whatever the tokenizer."""


Event = dict[str, Any]
"""What a server says: matched or looked up where it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call as the server parsed it; ``arguments`` is its JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the model said. ``pieces`` is 1 for a reply that was not streamed."""

    content: str
    reasoning: str
    calls: tuple[Call, ...]
    finish_reason: str | None
    tokens: int | None
    pieces: int


def ask(port: int, body: Mapping[str, object], timeout_s: float) -> Turn:
    """Ask for a whole reply. Raises StepError when it is none."""
    match _json(_post(port, body, timeout_s)):
        case {"choices": [{"message": dict() as message, "finish_reason": reason}], "usage": dict() as usage}:
            return Turn(
                content=_text(message, "content"),
                reasoning=_text(message, "reasoning") or _text(message, "reasoning_content"),
                calls=tuple(_call(call) for call in message.get("tool_calls") or ()),
                finish_reason=reason,
                tokens=usage.get("completion_tokens"),
                pieces=1,
            )
    raise StepError("the server's answer is no chat completion")


def stream(port: int, body: Mapping[str, object], timeout_s: float) -> Turn:
    """Ask for a stream and put it together. Raises StepError when it does not end as one."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    lines = _post(port, {**body, **options}, timeout_s).splitlines()
    events = [line.removeprefix(_DATA) for line in lines if line.startswith(_DATA)]
    if not events or events[-1] != _END:
        raise StepError(f"a stream of {len(events)} events did not end with {_END}")
    content, reasoning, finish, tokens, pieces = "", "", None, None, 0
    for event in map(_json, events[:-1]):
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        for choice in event.get("choices", ()):
            delta = choice.get("delta", {})
            said = _text(delta, "content")
            thought = _text(delta, "reasoning") or _text(delta, "reasoning_content")
            content, reasoning = content + said, reasoning + thought
            pieces += bool(said or thought)
            finish = choice.get("finish_reason") or finish
    return Turn(
        content=content, reasoning=reasoning, calls=(), finish_reason=finish, tokens=tokens, pieces=pieces
    )


def count_tokens(port: int, text: str, timeout_s: float) -> int:
    """Return how many tokens ``text`` is to the served tokenizer."""
    body = {"prompt": text, "add_special_tokens": False}
    match _json(_post(port, body, timeout_s, "/tokenize")):
        case {"count": int(count)}:
            return count
    raise StepError("the server does not say how many tokens a text has")


def opens_thinking(port: int, body: Mapping[str, object], timeout_s: float) -> bool:
    """Tell whether the prompt that the server makes of ``body`` ends inside a think block."""
    asked = {name: body[name] for name in ("messages", "chat_template_kwargs") if name in body}
    wanted = {**asked, "add_generation_prompt": True, "return_token_strs": True}
    match _json(_post(port, wanted, timeout_s, "/tokenize")):
        case {"token_strs": [*tokens]}:
            end = "".join(map(str, tokens[-PROMPT_END:]))
            return end.rfind("<think>") > end.rfind("</think>")
    raise StepError("the server does not say what prompt it makes of a conversation")


def _post(port: int, body: Mapping[str, object], timeout_s: float, path: str = PATH) -> str:
    try:
        status, text = loopback.post(port, path, json.dumps(body).encode(), timeout_s)
    except (OSError, http.client.HTTPException) as error:
        raise StepError(f"the server did not answer: {error!r}") from error
    if status != http.client.OK:
        raise StepError(f"status {status}: {text[:300]}")
    return text


def _json(text: str) -> Event:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise StepError(f"expected JSON: {text[:300]}") from error
    if not isinstance(data, dict):
        raise StepError(f"expected an object: {text[:300]}")
    return data


def _text(message: Mapping[str, object], key: str) -> str:
    return str(message.get(key) or "")


def _call(call: Mapping[str, object]) -> Call:
    match call:
        case {"id": str(name), "function": {"name": str(function), "arguments": str(arguments)}}:
            return Call(id=name, name=function, arguments=arguments)
    raise StepError(f"expected a tool call with id, name and arguments: {str(call)[:300]}")
