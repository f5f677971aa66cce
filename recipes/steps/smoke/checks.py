r"""Functional checks: whether the API does what the card says, asked as a client asks.

    {"id": "think-0", "kind": "think", "messages": [...], "thinking": true,
     "expect": {"closed": true, "contains": "The answer is 54."}}

Each check gives a verdict: pass, fail, or "not measured" with the reason. A verdict is about the
server, its parsers and the chat template; whether the model is right is a share beside it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recipes.formats.evidence import Measurement
from recipes.formats.serving.profile import Serve
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import conversation, picture
from recipes.steps.smoke.conversation import Turn

CHECKS_FILE = "checks.jsonl"
PASS, FAIL, NOT_MEASURED = "pass", "fail", "not measured"
TAGS = ("<think>", "</think>")
MARKER = "<|think_on|>"

BUDGET_TOKENS = 10
"""Not a multiple of 1 + k for k of 2 and 3: a step that drafts past the budget must be cut."""

THINKING_TOKENS = 6

Body = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the file."""

    kind: str
    messages: Sequence[Mapping[str, object]]
    tools: Sequence[Mapping[str, object]]
    thinking: bool
    expect: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check found; ``n`` counts the conversations behind it."""

    name: str
    outcome: str
    found: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A server to ask: how many at once, how long to wait, and what every request carries."""

    port: int
    timeout_s: float
    concurrency: int
    pinned: Mapping[str, object]
    serve: Serve

    def all(self, bodies: Sequence[Body], ask: Callable[[int, Body, float], Turn]) -> list[Turn]:
        """Ask everything, in order of ``bodies``. Raises StepError when one request fails."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(
                pool.map(lambda body: ask(self.port, {**self.pinned, **body}, self.timeout_s), bodies)
            )


def parse(text: str) -> tuple[Row, ...]:
    """Parse the file. Raises StepError with file, line and what was expected."""
    return tuple(_row(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())


def run(asking: Asking, rows: Sequence[Row]) -> list[Verdict]:
    """Return one verdict for each check; one whose request fails is failed, with the reason."""
    return [_guarded(name, check, asking, rows) for name, check in CHECKS.items()]


def unmeasured(why: str) -> list[Verdict]:
    """Return every check as not measured."""
    return [Verdict(name=name, outcome=NOT_MEASURED, found=why, n=0) for name in CHECKS]


def failures(verdicts: Sequence[Verdict]) -> list[Measurement]:
    """Return how many checks failed, for a gate; nothing when none was made."""
    made = [verdict for verdict in verdicts if verdict.outcome != NOT_MEASURED]
    failed = sum(verdict.outcome == FAIL for verdict in made)
    how = "functional checks through the API that failed; n counts those that were made"
    measured = Measurement(name="checks_failed", value=failed, unit="checks", n=len(made), how=how)
    return [measured] if made else []


def _guarded(name: str, check: "Check", asking: Asking, rows: Sequence[Row]) -> Verdict:
    try:
        outcome, found, n = check(asking, rows)
    except StepError as error:
        outcome, found, n = FAIL, str(error), 0
    return Verdict(name=name, outcome=outcome, found=found, n=n)


Found = tuple[str, str, int]
Check = Callable[[Asking, Sequence[Row]], Found]


def _off_by_default(asking: Asking, rows: Sequence[Row]) -> Found:
    turns = asking.all([_body(row) for row in _of(rows, "answer")], conversation.ask)
    return _every(turns, lambda turn: not turn.reasoning and not _tagged(turn.content), "answer at once")


def _on_by_request(asking: Asking, rows: Sequence[Row]) -> Found:
    if not asking.serve.reasoning_parser:
        return _no_parser()
    turns = asking.all([_thinking(row) for row in _of(rows, "think")], conversation.ask)
    return _every(turns, lambda turn: bool(turn.reasoning), "think when asked to")


def _on_by_marker(asking: Asking, rows: Sequence[Row]) -> Found:
    marked = [_marked(row) for row in _of(rows, "think")]
    opened = sum(conversation.opens_thinking(asking.port, body, asking.timeout_s) for body in marked)
    turns = asking.all(marked, conversation.ask)
    apart = sum(bool(turn.reasoning) for turn in turns)
    outcome, found, n = _every(turns, lambda turn: turn.finish_reason == "stop", "end by themselves")
    if opened < len(marked):
        outcome = FAIL
    return outcome, f"{opened} of {n} think with {MARKER}, {apart} have the trace apart; {found}", n


def _split(asking: Asking, rows: Sequence[Row]) -> Found:
    if not asking.serve.reasoning_parser:
        return _no_parser()
    turns = asking.all([_thinking(row) for row in _of(rows, "think")], conversation.ask)
    ended = [turn for turn in turns if turn.finish_reason == "stop"]
    return _every(
        ended,
        lambda turn: bool(turn.content.strip()) and not _tagged(turn.content + turn.reasoning),
        "have trace and answer apart",
    )


def _tool_round_trip(asking: Asking, rows: Sequence[Row]) -> Found:
    if not asking.serve.tool_parser:
        return NOT_MEASURED, "the profile has no tool parser", 0
    wanted = _of(rows, "tool_call")
    bodies = [{**_body(row), "tools": row.tools, "tool_choice": "auto"} for row in wanted]
    first = asking.all(bodies, conversation.ask)
    called = [(body, turn) for body, turn in zip(bodies, first, strict=True) if turn.calls]
    if not called:
        return FAIL, f"0 of {len(first)} replies hold a tool call", len(first)
    second = asking.all([_answered(body, turn) for body, turn in called], conversation.ask)
    right = sum(_right(row, turn) for row, turn in zip(wanted, first, strict=True))
    outcome, found, _ = _every(
        second, lambda turn: bool(turn.content.strip()), "answer from the tool's result"
    )
    return outcome, f"{len(called)} of {len(first)} call a tool, {right} as expected; {found}", len(first)


def _streams(asking: Asking, rows: Sequence[Row]) -> Found:
    turns = asking.all([_body(row) for row in _of(rows, "stop")], conversation.stream)
    return _every(
        turns,
        lambda turn: turn.pieces > 1 and turn.finish_reason is not None and bool(turn.tokens),
        "come in pieces, with a reason to finish and a count of tokens",
    )


def _stops_at_budget(asking: Asking, rows: Sequence[Row]) -> Found:
    cut = {"max_tokens": BUDGET_TOKENS, "ignore_eos": True}
    turns = asking.all([{**_body(row), **cut} for row in _of(rows, "stop")], conversation.ask)
    drafts = asking.serve.speculative_tokens
    return _every(
        turns,
        lambda turn: turn.tokens == BUDGET_TOKENS and turn.finish_reason == "length",
        f"end after exactly {BUDGET_TOKENS} tokens, with {drafts} draft tokens a step",
    )


def _thinking_budget(asking: Asking, rows: Sequence[Row]) -> Found:
    if not asking.serve.reasoning_parser:
        return _no_parser()
    cut = {"thinking_token_budget": THINKING_TOKENS}
    turns = asking.all([{**_thinking(row), **cut} for row in _of(rows, "think")], conversation.ask)
    most = THINKING_TOKENS + 1 + asking.serve.speculative_tokens
    return _every(
        turns,
        lambda turn: conversation.count_tokens(asking.port, turn.reasoning, asking.timeout_s) <= most,
        f"think no longer than a budget of {THINKING_TOKENS} tokens and a step",
    )


def _image(asking: Asking, rows: Sequence[Row]) -> Found:
    del rows
    if asking.serve.language_model_only:
        return NOT_MEASURED, "the profile serves without the vision tower", 0
    turns = asking.all([{"messages": picture.messages()}], conversation.ask)
    return _every(turns, lambda turn: bool(turn.tokens), "answer a message with an image")


CHECKS: Mapping[str, Check] = {
    "thinking-off-by-default": _off_by_default,
    "thinking-on-by-request": _on_by_request,
    "thinking-on-by-marker": _on_by_marker,
    "reasoning-apart-from-answer": _split,
    "tool-call-round-trip": _tool_round_trip,
    "streaming": _streams,
    "stop-at-max-tokens": _stops_at_budget,
    "stop-at-thinking-budget": _thinking_budget,
    "image": _image,
}


def _row(number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise StepError(f"{CHECKS_FILE}:{number}: expected JSON: {error}", Exit.CONFIG) from error
    match row:
        case {"kind": str(kind), "messages": [_, *_] as messages, "expect": dict() as expect}:
            return Row(
                kind=kind,
                messages=messages,
                tools=row.get("tools") or (),
                thinking=bool(row.get("thinking", False)),
                expect=expect,
            )
    raise StepError(f"{CHECKS_FILE}:{number}: expected kind, messages and expect", Exit.CONFIG)


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    found = [row for row in rows if row.kind == kind]
    if not found:
        raise StepError(f"{CHECKS_FILE} holds no row of kind {kind}")
    return found


def _every(turns: Sequence[Turn], holds: Callable[[Turn], bool], words: str) -> Found:
    good = sum(holds(turn) for turn in turns)
    outcome = PASS if turns and good == len(turns) else FAIL
    return outcome, f"{good} of {len(turns)} {words}", len(turns)


def _no_parser() -> Found:
    return NOT_MEASURED, "the profile has no reasoning parser", 0


def _tagged(text: str) -> bool:
    return any(tag in text for tag in TAGS)


def _body(row: Row) -> Body:
    return {"messages": row.messages}


def _thinking(row: Row) -> Body:
    return {**_body(row), "chat_template_kwargs": {"enable_thinking": True}}


def _marked(row: Row) -> Body:
    system, rest = "", list(row.messages)
    if rest[0].get("role") == "system":
        system = str(rest.pop(0).get("content"))
    return {"messages": [{"role": "system", "content": f"{MARKER}{system}"}, *rest]}


def _answered(body: Body, turn: Turn) -> Body:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in turn.calls
    ]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"shelf": 31, "degrees": 7})}
        for call in turn.calls
    ]
    messages = body["messages"]
    assert isinstance(messages, Sequence), "a row was parsed with messages"
    asked = {"role": "assistant", "content": turn.content, "tool_calls": calls}
    return {**body, "messages": [*messages, asked, *results]}


def _right(row: Row, turn: Turn) -> bool:
    return any(
        call.name == row.expect.get("name")
        and dict(_arguments(call.arguments)) == row.expect.get("arguments")
        for call in turn.calls
    )


def _arguments(text: str) -> Iterator[tuple[str, object]]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise StepError(f"a tool call's arguments are no JSON: {text[:200]}") from error
    if not isinstance(data, dict):
        raise StepError(f"a tool call's arguments are no object: {text[:200]}")
    yield from data.items()
