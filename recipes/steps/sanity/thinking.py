"""Thinking: whether it ends by itself, and at a budget while drafts reach further."""

from collections.abc import Sequence
from dataclasses import replace

from recipes.formats.sanity import Answer, Termination
from recipes.steps.sanity.asking import Asking, Body
from recipes.steps.sanity.questions import Question
from recipes.steps.smoke.conversation import Turn

BUDGET = "thinking_budget"
TAGS = ("<think>", "</think>")


def termination_task(penalty: float) -> str:
    """Return the figure's name for a repetition penalty."""
    return f"clean_termination_rp{penalty}"


def termination(asking: Asking, wanted: Termination, questions: Sequence[Question]) -> list[Answer]:
    """Ask with thinking at each penalty, sampled as users are told to; right is a clean end."""
    found = []
    for penalty in wanted.repetition_penalties:
        sampling = replace(asking.wanted.sampling, repetition_penalty=penalty, max_tokens=wanted.max_tokens)
        turns = asking.all([_thought(question) for question in questions], sampling)
        found += [
            Answer(task=termination_task(penalty), id=question.id, right=clean(turn), said=_said(turn))
            for question, turn in zip(questions, turns, strict=True)
        ]
    return found


def budget(asking: Asking, tokens: int, questions: Sequence[Question]) -> list[Answer]:
    """Ask with a thinking budget; right is a trace within it and a step's drafts, and an answer.

    The trace is counted by the served tokenizer. A verify step yields up to 1 + k tokens, so
    an engine that looks after each step is late by no more than that.
    """
    bodies = [{**_thought(question), "thinking_token_budget": tokens} for question in questions]
    turns = asking.all(bodies)
    most = tokens + 1 + asking.serve.speculative_tokens
    counts = asking.count(turn.reasoning for turn in turns)
    return [
        Answer(
            task=BUDGET,
            id=question.id,
            right=count <= most and bool(turn.content.strip()),
            said=f"[{count} tokens of trace] {_said(turn)}",
        )
        for question, turn, count in zip(questions, turns, counts, strict=True)
    ]


def clean(turn: Turn) -> bool:
    """Tell whether a reply ended by itself, with a trace that was closed and an answer after it."""
    return (
        turn.finish_reason == "stop"
        and bool(turn.content.strip())
        and not any(tag in turn.content + turn.reasoning for tag in TAGS)
    )


def _thought(question: Question) -> Body:
    return {"messages": question.messages, "chat_template_kwargs": {"enable_thinking": True}}


def _said(turn: Turn) -> str:
    return f"({turn.finish_reason}) {turn.reasoning} ⇒ {turn.content}"
