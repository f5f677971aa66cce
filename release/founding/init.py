"""``invoke init``: ask or read flags, look at the checkpoints, write the line, lock it."""

import sys
from collections.abc import Mapping
from pathlib import Path

from release.errors import StoppedError
from release.founding import asking, looking, wanted, writing
from release.line import PROJECT
from release.locking import lock_line
from release.report.terminal import Terminal

RECIPES = PROJECT / "recipes"


def found(
    name: str, answers: Mapping[str, str], terminal: Terminal, *, thinking: bool, into: Path = RECIPES
) -> None:
    """Make the release line ``name`` from ``answers``; what they lack is asked on a terminal.

    Raises UsageError where nobody can be asked, ConfigError for checkpoints that no release can
    be made of, ConflictError for a name that is taken. Until the last moment nothing is written.
    """
    wanted.require_name(name)
    writing.require_free(into / name)
    if sys.stdin.isatty() and sys.stdout.isatty():
        answers = _asked(answers)
    asked = wanted.decide(name, answers, thinking=thinking)
    folders = {"base": asked.base.folder, "master": asked.master.folder}
    seen = looking.look({key: folder for key, folder in folders.items() if folder is not None})
    for key, one in seen.items():
        terminal.say(f"{key}: {one.words()}")
    home = writing.write(asked, seen, RECIPES, into)
    terminal.say(f"wrote {home}")
    meant = name if into == RECIPES else str(home)
    lock_line(meant, "", terminal.say, diff=False)
    terminal.say(f"→ search {home / 'recipe.toml'} for FILL IN, then:")
    terminal.say(f"  invoke release --recipe {meant} --version 0.1.0 --dry-run")


def _asked(answers: Mapping[str, str]) -> Mapping[str, str]:
    try:
        return asking.complete(answers)
    except EOFError as error:
        raise StoppedError("no more answers", hint="nothing was written") from error
