"""Answers in, measurements out: the share of right ones for each task. Pure."""

from collections.abc import Mapping, Sequence

from recipes.formats.evidence import Measurement
from recipes.formats.sanity import Answer
from recipes.steps.sanity import needle, thinking, tools, vision

HOW: Mapping[str, str] = {
    thinking.BUDGET: "a trace within the budget and one step's drafts, and an answer after it",
    tools.VALID: "turns with a call, each of an offered tool with arguments that its schema admits",
    tools.RIGHT: "turns with the one call that was asked for",
    needle.TASK: "replies that say the fact that the text holds",
    vision.PICTURES: "replies that say what a picture drawn for this release shows",
    vision.VIDEO: "questions on one drawn video whose answer the reply says",
}
CLEAN = "replies that thought, ended by themselves and answered; sampled as the recipe says, at this penalty"
HARNESS = "documents right by lm-evaluation-harness"


def figures(answers: Sequence[Answer], penalties: Sequence[float], asked: str) -> list[Measurement]:
    """Return one share for each task, in order of its first answer; ``asked`` says how."""
    clean = {thinking.termination_task(penalty): CLEAN for penalty in penalties}
    by_task: dict[str, list[bool]] = {}
    for answer in answers:
        by_task.setdefault(answer.task, []).append(answer.right)
    return [
        Measurement(
            name=task,
            value=sum(right) / len(right),
            unit="fraction",
            n=len(right),
            how=clean.get(task) or f"{HOW.get(task, HARNESS)}; {asked}",
        )
        for task, right in by_task.items()
    ]
