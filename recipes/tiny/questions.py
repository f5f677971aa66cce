"""What both served models of the tiny line are asked: documents, sessions and facts, from its corpus.

No row was seen in training; those that the checks ask are left out.
"""

# ruff: noqa: S311 - a seeded generator is what pinned rows need

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random

from recipes.tiny.corpus import WORDS, Dialogue, Json, Split, dialogues

HAYSTACK_FILE = "sanity/haystack.txt"
SEED = 20261124
ASKED = 8
"""Rows of a domain that the checks may have taken: the first ones of the split."""

ARITHMETIC, INSTRUCTIONS, THINKING, SESSIONS, FACTS = 48, (24, 24), 24, 8, 4
STORIES = 40

Distinct = Callable[[Split, str, int], list[Dialogue]]


def rows(distinct: Distinct) -> dict[str, list[dict[str, Json]]]:
    """Return the rows of each file by its name without ``.jsonl``."""
    counts = zip(("pattern", "counting"), INSTRUCTIONS, strict=True)
    instructions = [(domain, row) for domain, count in counts for row in _unasked(distinct, domain, count)]
    return {
        "sanity/tasks/arithmetic": [
            _document(f"arithmetic-{at}", row)
            for at, row in enumerate(_unasked(distinct, "arithmetic", ARITHMETIC))
        ],
        "sanity/tasks/instructions": [
            _document(f"{domain}-{at}", row) for at, (domain, row) in enumerate(instructions)
        ],
        "sanity/thinking": [
            {"id": f"thinking-{at}", "messages": [*row.messages]}
            for at, row in enumerate(_unasked(distinct, "thinking", THINKING))
        ],
        "sanity/tools": [_session(at) for at in range(SESSIONS)],
        "sanity/needle": [_fact(at) for at in range(FACTS)],
    }


def haystack() -> list[str]:
    """Return sentences that hold no fact of ``needle.jsonl``."""
    rng = Random(f"{SEED}:hay")
    stories = (next(dialogues(rng, "checks", "prose")) for _ in range(STORIES))
    return [f"{line}." for story in stories for line in str(story.reply["content"]).rstrip(".").split(". ")]


def _unasked(distinct: Distinct, domain: str, count: int) -> list[Dialogue]:
    return distinct("checks", domain, ASKED + count)[ASKED:]


def _document(name: str, row: Dialogue) -> dict[str, Json]:
    """Return question and answer; a system message would be the same for all, and is left out."""
    expect = str((row.expect or {}).get("contains"))
    question = next(message["content"] for message in row.messages if message["role"] == "user")
    return {"id": name, "question": question, "answer": _answer(expect)}


def _answer(expected: str) -> str:
    """Return the part of an expected reply that the task's filter takes out."""
    for form in (r"The answer is (\d+)\.", r"The pattern is (.+),", r"([0-9, ]+)\."):
        found = re.fullmatch(rf".*?{form}", expected)
        if found:
            return found[1].strip()
    raise ValueError(f"no filter takes an answer out of {expected!r}")


def _session(at: int) -> dict[str, Json]:
    """Return a session of two questions with both tools offered."""
    rng, turns = Random(f"{SEED}:tools:{at}"), list[Json]()
    tools: list[Json] = []
    while len(turns) < 2:
        answered = next(dialogues(rng, "checks", "tool_answer"))
        if len(answered.tools) < 2:
            continue
        tools = [*answered.tools]
        asked, called, result = answered.messages
        match called["tool_calls"]:
            case [{"function": {"name": name, "arguments": arguments}}]:
                turns.append(
                    {
                        "ask": asked["content"],
                        "name": name,
                        "arguments": arguments,
                        "result": _result(result["content"]),
                    }
                )
    return {"id": f"session-{at}", "tools": tools, "turns": turns}


def _fact(at: int) -> dict[str, Json]:
    word, shelf = WORDS[at * 3], 17 + 19 * at
    return {
        "id": f"shelf-{at}",
        "fact": f"The book about the {word} is on shelf {shelf}.",
        "ask": f"Where is the book about the {word}?",
        "answer": str(shelf),
    }


def _result(content: Json) -> Json:
    loaded: Json = json.loads(str(content))
    return loaded
