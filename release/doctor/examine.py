"""``invoke doctor``: look at the machine, hold it against a release line, say what to do."""

import json
import os

from release import line as lines
from release.doctor.checks import Wants, findings
from release.doctor.finding import State, table
from release.doctor.machine import look
from release.engines import environment
from release.engines.outcome import REQUIRE
from release.errors import MachineError
from release.line import Line
from release.pipeline import CPU_VARIANT
from release.report.terminal import Terminal

ENVIRONMENT_BYTES = 6_000_000_000
"""About what the larger of the two environments takes on the disk."""


def examine(recipe: str, terminal: Terminal, *, as_json: bool) -> None:
    """Print a line for each subject. Raises MachineError when a release could not run here."""
    line = lines.open_line(recipe)
    found = findings(look(line.store.root, line.images.values()), wants(line))
    if as_json:
        text = json.dumps(
            {"recipe": line.recipe.name, "findings": [one.to_json() for one in found]}, indent=1
        )
        terminal.say(text)
    else:
        terminal.console.print(table(f"this machine, for {line.recipe.name}", found))
    if stopping := [one for one in found if one.state is State.BAD]:
        raise MachineError(
            f"this machine cannot release {line.recipe.name}: {', '.join(one.name for one in stopping)}",
            hint=stopping[0].hint,
        )


def wants(line: Line) -> Wants:
    """Return what ``line`` asks of a machine."""
    gpu = line.recipe.variant != CPU_VARIANT
    return Wants(
        recipe=line.recipe.name,
        gpu=gpu,
        containers=gpu,
        writes=_writes(line),
        isolation_required=bool(os.environ.get(REQUIRE)),
    )


def _writes(line: Line) -> int:
    """Estimate what the next release adds: sources not here yet, a quantized body, environments.

    A body of NVFP4 and BF16 parts is under half of its master; grafting and assembling link.
    """
    sources = sum(line.store.lacks(tree) for tree in line.trees.values())
    body = line.trees["master"].size // 2
    missing = [
        image
        for image in line.images.values()
        if not environment.complete(environment.folder_of(image, line.store))
    ]
    return sources + body + ENVIRONMENT_BYTES * len(missing)
