"""A new line on the disk: its folder appears whole, or not at all."""

import datetime as dt
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jinja2

from release import recipe as recipes
from release.card.facts import parse_facts
from release.card.unfilled import UNFILLED
from release.errors import ConflictError
from release.founding.looking import Seen
from release.founding.wanted import Wanted
from release.source import PATH

HERE = Path(__file__).resolve().parent
TEMPLATES = {"recipe.toml": "recipe.toml.jinja", "README.md": "README.md.jinja"}
COPIED = ("prompts.jsonl", "calibration.jsonl")
ROWS = {"cpu": "tiny", "gb10": "qwen3.6-27b-vlm-cascade"}
"""The line whose battery and calibration a new one begins with, by variant."""


def write(wanted: Wanted, seen: Mapping[str, Seen], recipes_folder: Path, into: Path) -> Path:
    """Write the folder of a new line below ``into`` and return it.

    Raises ConflictError when there is something of that name already.
    """
    home = into / wanted.name
    require_free(home)
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into, prefix=".init-") as scratch:
        made = Path(scratch) / wanted.name
        made.mkdir()
        like = recipes_folder / ROWS[wanted.variant]
        for name in COPIED:
            _copy(like / name, made / name, thinking=wanted.thinking)
        for name, text in rendered(wanted, seen, recipes_folder, home).items():
            (made / name).write_text(text, encoding="utf-8")
        found = recipes.load(made)
        parse_facts(found.card, "known once it is locked")
        require_free(home)
        made.rename(home)  # an empty folder of that name is replaced, one with a file in it is not
    return home


def require_free(home: Path) -> None:
    """Refuse to touch what is there."""
    if os.path.lexists(home):
        raise ConflictError(
            f"{home} is there already",
            why="A new line never overwrites anything.",
            hint="take another name, or edit the recipe that is there",
        )


def rendered(wanted: Wanted, seen: Mapping[str, Seen], recipes_folder: Path, home: Path) -> Mapping[str, str]:
    """Return the text of each file that is made from a template, by its name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - this is TOML; every value passes the filter of TOML strings
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = toml
    environment.filters["pad"] = str.ljust
    templates = recipes_folder / "templates"
    hub = wanted.base.hub
    values = {
        "wanted": wanted,
        "cpu": wanted.variant == "cpu",
        "base": wanted.base.written(home),
        "master": wanted.master.written(home),
        "seen": {name: [one.words()] for name, one in seen.items()},
        "like": ROWS[wanted.variant],
        "revision": hub.revision if hub and hub.pinned else "",
        "templates": f"{PATH}{os.path.relpath(templates, home)}",
        "chat_template": f"{PATH}{os.path.relpath(templates / 'chat_template.jinja', home)}",
        "unfilled": UNFILLED,
        "year": dt.datetime.now(dt.UTC).year,
    }
    return {name: environment.get_template(file).render(values) for name, file in TEMPLATES.items()}


def toml(text: str) -> str:
    """Return ``text`` as a TOML string. It holds no control characters: JSON's form is TOML's."""
    return json.dumps(str(text), ensure_ascii=False)


def _copy(source: Path, target: Path, *, thinking: bool) -> None:
    """Copy rows; a model that does not think is not asked to."""
    if thinking or source.name != "prompts.jsonl":
        shutil.copyfile(source, target)
        return
    rows = source.read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if not json.loads(row).get("thinking")]
    target.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")
