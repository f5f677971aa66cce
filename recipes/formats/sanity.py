"""Sanity of a served tree: what a recipe asks for, and how the answers are written down.

    [sanity]
    seed = 20261123
    concurrency = 16
    max_tokens = 128
    temperature = 0.0            # optional: of every part but termination; else the recipe's own

    [sanity.tasks]               # each table is a part; one that is left out is not measured
    names = ["arithmetic"]       # tasks of lm-evaluation-harness, files of the source "sanity"

An answer is right or wrong, and has an id, so that both trees' answers pair.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from recipes.formats.params import Table
from recipes.formats.serving.profile import Serve

ANSWERS_FILE = "answers.jsonl"
PARTS = ("tasks", "termination", "budget", "tools", "needle", "vision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """Thinking must end by itself, at each of these penalties."""

    repetition_penalties: tuple[float, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """One fact in a text: ``tokens`` of prompt, the fact at each share of the text."""

    tokens: tuple[int, ...]
    depths: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """How many pictures are drawn, and how many frames the video has."""

    images: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sanity:
    """What is asked. A part that is None, or false, was left out by the recipe."""

    seed: int
    concurrency: int
    max_tokens: int
    temperature: float | None
    tasks: tuple[str, ...]
    termination: Termination | None
    budget: int | None
    tools: bool
    needle: Needle | None
    vision: Vision | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. ``task`` is the figure that it counts for; ``id`` is the same for both trees."""

    task: str
    id: str
    right: bool
    said: str


def parse_sanity(table: Table) -> Sanity:
    """Parse the table. Raises ValueError with key, expected and got."""
    parts = {name: table.optional_table(name) for name in PARTS}
    sanity = Sanity(
        seed=table.count("seed", at_least=0),
        concurrency=table.count("concurrency"),
        max_tokens=table.count("max_tokens"),
        temperature=table.optional_number("temperature"),
        tasks=_names(parts["tasks"]),
        termination=_termination(parts["termination"]),
        budget=parts["budget"].count("tokens") if parts["budget"] else None,
        tools=parts["tools"] is not None,
        needle=_needle(parts["needle"]),
        vision=_vision(parts["vision"]),
    )
    for part in (*parts.values(), table):
        if part is not None:
            part.finish()
    return sanity


def refuse_unfit(sanity: Sanity, serve: Serve) -> None:
    """Raise ValueError for a text that does not fit into the profile's context."""
    longest = max(sanity.needle.tokens, default=0) if sanity.needle else 0
    if longest + sanity.max_tokens > serve.max_model_len:
        raise ValueError(
            f"sanity: needle.tokens: expected at most {serve.max_model_len - sanity.max_tokens}, which with "
            f"max_tokens fits into max_model_len {serve.max_model_len}, got {longest}"
        )


def dump_answers(answers: Iterable[Answer]) -> str:
    """Return answers as JSON, one a line. Raises ValueError when two have the same id."""
    lines, seen = [], set()
    for answer in answers:
        if (answer.task, answer.id) in seen:
            raise ValueError(f"{ANSWERS_FILE}: {answer.task} has two answers called {answer.id}")
        seen.add((answer.task, answer.id))
        lines.append(json.dumps(asdict(answer), sort_keys=True, ensure_ascii=False) + "\n")
    return "".join(lines)


def parse_answers(text: str) -> Mapping[str, Mapping[str, bool]]:
    """Return task → id → whether it was right. Raises ValueError with file and line."""
    found: dict[str, dict[str, bool]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match json.loads(line):
            case {"task": str(task), "id": str(name), "right": bool(right)}:
                found.setdefault(task, {})[name] = right
            case _:
                raise ValueError(f"{ANSWERS_FILE}:{number}: expected task, id and right")
    return found


def _names(part: Table | None) -> tuple[str, ...]:
    if part is None:
        return ()
    names = part.optional_texts("names")
    if not names:
        raise part.wrong("names", "names of tasks", names)
    return names


def _termination(part: Table | None) -> Termination | None:
    if part is None:
        return None
    return Termination(
        repetition_penalties=part.numbers("repetition_penalties"), max_tokens=part.count("max_tokens")
    )


def _needle(part: Table | None) -> Needle | None:
    if part is None:
        return None
    needle = Needle(tokens=tuple(map(int, part.numbers("tokens"))), depths=part.numbers("depths"))
    if not all(0 <= depth <= 1 for depth in needle.depths):
        raise part.wrong("depths", "shares from 0 to 1", needle.depths)
    return needle


def _vision(part: Table | None) -> Vision | None:
    if part is None:
        return None
    return Vision(images=part.count("images"), frames=part.count("frames"))
