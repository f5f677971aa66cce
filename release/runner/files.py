"""The files that a runner's host gets: ours alone, so that nobody's own file is changed. Pure."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2

from recipes.formats.params import Table
from recipes.formats.serving.budget import parse_floors
from release.errors import UsageError
from release.runner.host import Wish

HERE = Path(__file__).resolve().parent
UNIT_NAME = "graftsmith-runner.service"
UNIT = Path("/etc/systemd/system") / UNIT_NAME
EARLYOOM = Path("/etc/systemd/system/earlyoom.service.d/graftsmith.conf")
SYSCTL = Path("/etc/sysctl.d/90-graftsmith.conf")
TEMPLATES = {UNIT: f"{UNIT_NAME}.jinja", EARLYOOM: "earlyoom.conf.jinja", SYSCTL: "sysctl.conf.jinja"}

SWAPPINESS = 1
"""Swap stays for what never runs; the owner's swap itself is the owner's."""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_FOLDER = re.compile(r"/[A-Za-z0-9._/-]+")


def check(wish: Wish) -> Wish:
    """Return ``wish``. Raises UsageError for names that a unit file could read as something else."""
    if not _USER.fullmatch(wish.user) or wish.user == "root":
        raise UsageError(
            f"--user: expected the name of a user of its own, not root, got {wish.user!r}",
            why="Whoever may start containers is as good as root: the runner's user does nothing else.",
        )
    for flag, folder in (("--folder", wish.folder), ("--store", wish.store)):
        parts = folder.parts
        if not _FOLDER.fullmatch(str(folder)) or ".." in parts or len(parts) < 3:
            raise UsageError(
                f"{flag}: expected a folder of its own, such as {Wish().folder}, got {str(folder)!r}"
            )
    return wish


def texts(wish: Wish, memory: int) -> Mapping[Path, str]:
    """Return the text of each file, for a machine of ``memory`` bytes."""
    floors = _floors()
    values = {
        "wish": wish,
        "guard_gib": floors[0] >> 30,
        "start_gib": floors[1] >> 30,
        "percent": percent(memory, floors[1]),
        "swappiness": SWAPPINESS,
    }
    return {path: _environment().get_template(name).render(values) for path, name in TEMPLATES.items()}


def percent(memory: int, startup_floor: int) -> int:
    """Return the share of memory at which earlyoom acts: half of what the guard leaves while loading."""
    return max(1, 50 * startup_floor // max(memory, 1))


def _floors() -> tuple[int, int]:
    """Return the bytes that the guard leaves by default: while serving, and while loading."""
    floors = parse_floors(Table("smoke.memory", {}))
    return floors.floor, floors.startup_floor


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - unit files; what is put in was checked
        keep_trailing_newline=True,
    )
