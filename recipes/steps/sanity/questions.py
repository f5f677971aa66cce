"""The recipe's questions: files of the source ``sanity``, one JSON object a line.

tasks/<name>.yaml, tasks/<name>.jsonl   tasks of lm-evaluation-harness and their documents
thinking.jsonl    {"id": "add-0", "messages": [...]}
tools.jsonl       {"id": "book-0", "tools": [...], "turns": [{"ask": "...", "name": "find_book",
                   "arguments": {...}, "result": {...}}, ...]}
needle.jsonl      {"id": "shelf-0", "fact": "...", "ask": "...", "answer": "31"}
haystack.txt      sentences that hold no fact, one a line
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from recipes.formats.step import Exit, StepError

THINKING_FILE, TOOLS_FILE = "thinking.jsonl", "tools.jsonl"
NEEDLE_FILE, HAYSTACK_FILE = "needle.jsonl", "haystack.txt"

Row = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A conversation to be continued."""

    id: str
    messages: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One turn of a session with tools: what is asked, the call that is right, and what it returns."""

    ask: str
    name: str
    arguments: Row
    result: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Several turns with the same tools, each after the answer to the one before."""

    id: str
    tools: Sequence[Row]
    turns: Sequence[Use]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """A fact, the question for it, and the word or number that answers it."""

    id: str
    fact: str
    ask: str
    answer: str


def thinking(folder: Path) -> tuple[Question, ...]:
    """Read the questions to be thought about."""
    return _rows(folder / THINKING_FILE, _question)


def tools(folder: Path) -> tuple[Session, ...]:
    """Read the sessions with tools."""
    return _rows(folder / TOOLS_FILE, _session)


def needles(folder: Path) -> tuple[Hidden, ...]:
    """Read the facts to be hidden."""
    return _rows(folder / NEEDLE_FILE, _hidden)


def haystack(folder: Path) -> tuple[str, ...]:
    """Read the sentences that facts are hidden among."""
    return tuple(line.strip() for line in _text(folder / HAYSTACK_FILE).splitlines() if line.strip())


def _rows(file: Path, parse: Callable[[Row], T | None]) -> tuple[T, ...]:
    found = []
    for number, line in enumerate(_text(file).splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise StepError(f"{file.name}:{number}: expected JSON: {error}", Exit.CONFIG) from error
        parsed = parse(row)
        if parsed is None:
            raise StepError(f"{file.name}:{number}: expected what {__name__} describes", Exit.CONFIG)
        found.append(parsed)
    if not found:
        raise StepError(f"{file.name}: expected questions, got none", Exit.CONFIG)
    return tuple(found)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise StepError(
            f"the recipe asks for a part whose questions are not there: {file.name} of the source sanity; "
            "add the file, or leave the part's table out of recipe.toml",
            Exit.CONFIG,
        ) from error


def _question(row: Row) -> Question | None:
    match row:
        case {"id": str(name), "messages": [_, *_] as messages}:
            return Question(id=name, messages=_dicts(messages))
    return None


def _session(row: Row) -> Session | None:
    match row:
        case {"id": str(name), "tools": [_, *_] as tools, "turns": [_, *_] as turns}:
            uses = [_use(turn) for turn in _dicts(turns)]
            known = [use for use in uses if use is not None]
            return Session(id=name, tools=_dicts(tools), turns=known) if len(known) == len(uses) else None
    return None


def _use(row: Row) -> Use | None:
    match row:
        case {
            "ask": str(ask),
            "name": str(name),
            "arguments": dict() as arguments,
            "result": dict() as result,
        }:
            return Use(ask=ask, name=name, arguments=arguments, result=result)
    return None


def _dicts(values: Sequence[object]) -> list[Row]:
    return [value for value in values if isinstance(value, dict)]


def _hidden(row: Row) -> Hidden | None:
    match row:
        case {"id": str(name), "fact": str(fact), "ask": str(ask), "answer": str(answer)}:
            return Hidden(id=name, fact=fact, ask=ask, answer=answer)
    return None
