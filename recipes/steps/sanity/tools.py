"""Tool calls over several turns: whether each is one that the offered schema admits.

A session goes on with what the model said, and with the result of the call that would have
been right: one wrong call does not make the next turn another question for the other tree.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import jsonschema

from recipes.formats.sanity import Answer
from recipes.steps.sanity.asking import Asking
from recipes.steps.sanity.questions import Row, Session, Use
from recipes.steps.smoke.conversation import Call, Turn

VALID, RIGHT = "tool_calls_valid", "tool_calls_right"


def tools(asking: Asking, sessions: Sequence[Session]) -> list[Answer]:
    """Hold every session; two answers a turn: whether the call is valid, and whether it is right."""
    with ThreadPoolExecutor(asking.wanted.sanity.concurrency) as pool:
        held = list(pool.map(lambda session: _hold(asking, session), sessions))
    return [answer for answers in held for answer in answers]


def valid(calls: Sequence[Call], offered: Sequence[Row]) -> bool:
    """Tell whether there is a call, and each is one of ``offered`` with arguments of its schema."""
    schemas = {str(function["name"]): function.get("parameters", {}) for function in map(_function, offered)}
    return bool(calls) and all(
        call.name in schemas and _admits(schemas[call.name], call.arguments) for call in calls
    )


def right(calls: Sequence[Call], use: Use) -> bool:
    """Tell whether there is one call, the one that was asked for, with its arguments."""
    match calls:
        case [call]:
            return call.name == use.name and _object(call.arguments) == use.arguments
    return False


def _hold(asking: Asking, session: Session) -> list[Answer]:
    messages: list[Row] = []
    answers = []
    for at, use in enumerate(session.turns):
        messages.append({"role": "user", "content": use.ask})
        turn = asking.ask({"messages": messages, "tools": session.tools, "tool_choice": "auto"})
        name, said = f"{session.id}/{at}", _said(turn)
        answers.append(Answer(task=VALID, id=name, right=valid(turn.calls, session.tools), said=said))
        answers.append(Answer(task=RIGHT, id=name, right=right(turn.calls, use), said=said))
        messages += _went_on(use, at)
        reply = asking.ask({"messages": messages, "tools": session.tools, "tool_choice": "auto"})
        messages.append({"role": "assistant", "content": reply.content})
    return answers


def _went_on(use: Use, at: int) -> list[Row]:
    called = {
        "id": f"call_{at}",
        "type": "function",
        "function": {"name": use.name, "arguments": json.dumps(use.arguments)},
    }
    return [
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": f"call_{at}", "content": json.dumps(use.result)},
    ]


def _admits(schema: object, arguments: str) -> bool:
    given = _object(arguments)
    if given is None or not isinstance(schema, Mapping):
        return False
    # A name that no schema has is a call that no function takes.
    closed = {"additionalProperties": False, **schema}
    return bool(jsonschema.Draft202012Validator(closed).is_valid(given))


def _object(arguments: str) -> Row | None:
    try:
        given = json.loads(arguments)
    except ValueError:
        return None
    return given if isinstance(given, dict) else None


def _function(tool: Row) -> Row:
    function = tool.get("function")
    return function if isinstance(function, dict) else {}


def _said(turn: Turn) -> str:
    calls = "; ".join(f"{call.name}({call.arguments})" for call in turn.calls)
    return calls or turn.content
