"""Questions on a terminal, one line each; an empty answer takes the default."""

from collections.abc import Callable, Mapping

from release.founding.wanted import QUESTIONS, Question, unanswered


def complete(
    answers: Mapping[str, str], ask: Callable[[str], str] = input, say: Callable[[str], None] = print
) -> Mapping[str, str]:
    """Ask for what the flags did not say, and return all answers.

    What has a default is asked too: on a terminal a choice is seen before it is made. Raises
    EOFError when the input ends.
    """
    found = dict(answers)
    for question in QUESTIONS:
        if not found.get(question.key) and _open(question, found):
            found[question.key] = _ask(question, ask, say)
    return found


def _open(question: Question, answers: Mapping[str, str]) -> bool:
    return question.default is not None or question in unanswered(answers)


def _ask(question: Question, ask: Callable[[str], str], say: Callable[[str], None]) -> str:
    shown = f"[{question.default}]" if question.default else f"(such as {question.example})"
    if question.default == "":
        shown = "[as linear attention]"
    while True:
        answer = ask(f"{question.ask} {shown}: ").strip()
        if answer or question.default is not None:
            return answer or question.default or ""
        say("  this one has no default")
