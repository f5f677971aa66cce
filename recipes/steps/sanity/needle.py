"""A fact in a long text: asked for at several lengths, at several depths."""

import random
from collections.abc import Sequence

from recipes.formats.sanity import Answer, Needle
from recipes.formats.step import Exit, StepError
from recipes.steps.sanity.asking import Asking, Body
from recipes.steps.sanity.questions import Hidden
from recipes.steps.sanity.saying import says

TASK = "needle"
TEMPLATE_TOKENS = 64
"""What the chat template adds to a text, and a join of sentences to their sum, at most."""


def needle(asking: Asking, wanted: Needle, hidden: Sequence[Hidden], hay: Sequence[str]) -> list[Answer]:
    """Ask for each fact at every length and depth; right is a reply that says the answer."""
    sizes = asking.count(hay)
    rng = random.Random(asking.wanted.sanity.seed)  # noqa: S311 - the same texts for both trees
    cases: list[tuple[str, Hidden, Body]] = []
    for tokens in wanted.tokens:
        for depth in wanted.depths:
            for fact in hidden:
                order = rng.sample(range(len(hay)), len(hay))
                (own,) = asking.count([f"{fact.fact} {fact.ask}"])
                chosen = fill(tokens - own - TEMPLATE_TOKENS, [sizes[at] for at in order])
                lines = [hay[order[at]] for at in chosen]
                body = {"messages": [{"role": "user", "content": bury(fact, lines, depth)}]}
                cases.append((f"{fact.id}@{tokens}/{depth:g}", fact, body))
    turns = asking.all([body for _, _, body in cases])
    answers = {fact.answer for fact in hidden}
    return [
        Answer(task=TASK, id=name, right=says(turn.content, fact.answer, answers), said=turn.content)
        for (name, fact, _), turn in zip(cases, turns, strict=True)
    ]


def fill(tokens: int, sizes: Sequence[int]) -> list[int]:
    """Return which sentences, in turn and again from the start, come to at most ``tokens``.

    Raises StepError when not one does.
    """
    if not sizes or tokens < min(sizes):
        raise StepError(
            f"needle: {tokens} tokens are left for the text, and no sentence fits; raise "
            "sanity.needle.tokens in recipe.toml",
            Exit.CONFIG,
        )
    chosen, left, at = [], tokens, 0
    while sizes[at % len(sizes)] <= left:
        chosen.append(at % len(sizes))
        left -= sizes[at % len(sizes)]
        at += 1
    return chosen


def bury(fact: Hidden, lines: Sequence[str], depth: float) -> str:
    """Return the text with the fact at ``depth`` of its sentences, and the question after it."""
    at = round(depth * len(lines))
    return "\n".join([*lines[:at], fact.fact, *lines[at:], "", fact.ask])
