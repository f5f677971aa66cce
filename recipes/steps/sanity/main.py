"""Serve the tree once, ask it what is right or wrong, and write down every answer.

Takes ``tree`` and ``sanity`` (the recipe's questions); writes ``evidence.json`` with a share for
each task and ``answers.jsonl`` with each answer under its id. A part that the recipe leaves out,
or that the profile cannot serve, is "not measured" and says why.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from recipes.formats import evidence, progress
from recipes.formats.evidence import Evidence
from recipes.formats.sanity import ANSWERS_FILE, Answer, Sanity, dump_answers
from recipes.formats.serving.profile import Serve
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.sanity import needle, questions, tasks, thinking, tools, vision, wanted
from recipes.steps.sanity.asking import Asking
from recipes.steps.sanity.figures import figures
from recipes.steps.sanity.wanted import Wanted
from recipes.steps.smoke import engine, profile, serverlog
from recipes.steps.smoke.server import Server, free_port, serving

LEFT_OUT = "the recipe leaves it out"
Ask = Callable[[Asking], list[Answer]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part: how it is asked, or why it is not."""

    name: str
    ask: Ask | None
    why_not: str = ""


def main(work: Workdir) -> None:
    """Ask the tree and write answers and evidence."""
    asked = wanted.parse(work.params)
    planned = list(parts(asked.sanity, asked.serve, work.input("sanity"), work.state))
    port, version = free_port(), engine.version()
    argv = profile.argv(asked.serve, version, sys.executable, work.input("tree"), port)
    env = profile.environment(asked.serve, version, os.environ, work.state)
    log = work.state / "server.log"
    with serving(argv, env, log, port, asked.startup_timeout_s, _waiting) as server:
        if asked.serve.expect_kernel:
            serverlog.require_kernel(server.log_text(), asked.serve.expect_kernel)
        answers = _answers(server, Asking(port=port, wanted=asked), planned)
        found = _evidence(server, asked, planned, answers)
    work.new(ANSWERS_FILE).write_text(dump_answers(answers))
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(found))


def parts(sanity: Sanity, serve: Serve, folder: Path, state: Path) -> Iterator[Part]:
    """Yield every part, in order. Questions are read here: before a server is started.

    Raises StepError when the recipe asks for a part whose questions are not there.
    """
    thought = questions.thinking(folder) if sanity.termination or sanity.budget else ()
    yield _part("tasks", sanity.tasks, partial(_tasks, folder / tasks.FOLDER, state))
    yield _part(
        "termination",
        sanity.termination,
        lambda asking: thinking.termination(asking, _given(sanity.termination), thought),
        "" if serve.reasoning_parser else "the profile has no reasoning parser",
    )
    yield _part(
        "budget",
        sanity.budget,
        lambda asking: thinking.budget(asking, _given(sanity.budget), thought),
        "" if serve.reasoning_parser else "the profile has no reasoning parser",
    )
    sessions = questions.tools(folder) if sanity.tools else ()
    yield _part(
        "tools",
        sanity.tools,
        lambda asking: tools.tools(asking, sessions),
        "" if serve.tool_parser else "the profile has no tool parser",
    )
    hidden = (questions.needles(folder), questions.haystack(folder)) if sanity.needle else ((), ())
    yield _part("needle", sanity.needle, lambda asking: needle.needle(asking, _given(sanity.needle), *hidden))
    yield _part(
        "vision",
        sanity.vision,
        lambda asking: vision.vision(asking, _given(sanity.vision)),
        "the profile serves without the vision tower" if serve.language_model_only else "",
    )


def _tasks(folder: Path, state: Path, asking: Asking) -> list[Answer]:
    return tasks.run(asking, asking.wanted.sanity.tasks, folder, state)


def _part(name: str, asked: object, ask: Ask, cannot: str = "") -> Part:
    if not asked:
        return Part(name=name, ask=None, why_not=LEFT_OUT)
    return Part(name=name, ask=None if cannot else ask, why_not=cannot)


def _answers(server: Server, asking: Asking, planned: list[Part]) -> list[Answer]:
    answers = []
    for part in planned:
        if part.ask is None:
            continue
        progress.update(part.name)
        try:
            answers += part.ask(asking)
        except StepError as error:
            raise StepError(f"{part.name}: {error}\n{server.tail()}", error.code) from error
    if not answers:
        raise StepError(
            "nothing was asked: every part of [sanity] is left out or not served; leave [sanity] out of "
            "recipe.toml, or switch a part on",
            Exit.CONFIG,
        )
    return answers


def _evidence(server: Server, asked: Wanted, planned: list[Part], answers: list[Answer]) -> Evidence:
    termination = asked.sanity.termination
    penalties = termination.repetition_penalties if termination else ()
    temperature = asked.sanity.temperature
    at = f"temperature {asked.sampling.temperature if temperature is None else temperature:g}"
    drafted = f"{asked.serve.speculative_tokens} draft tokens a step"
    return Evidence(
        measurements=tuple(figures(answers, penalties, f"{at}, {drafted}")),
        facts={
            "engine": "vllm",
            "engine_version": json.loads(server.get("/version"))["version"],
            "flags": profile.flags(asked.serve, engine.version()),
            "kernel": serverlog.kernel(server.log_text()),
            "log_warnings": serverlog.doubts(server.log_text()),
            "parts": {part.name: part.why_not or "measured" for part in planned},
            "sanity": _table(asked.sanity),
            "speculative_tokens": asked.serve.speculative_tokens,
        },
    )


def _table(sanity: Sanity) -> Mapping[str, object]:
    return {name: value for name, value in asdict(sanity).items() if value not in (None, (), False)}


def _given(value: T | None) -> T:
    assert value is not None, "a part that was left out is not asked"
    return value


def _waiting(seconds: float) -> None:
    progress.update("starting the server", int(seconds), 0, "s")
