"""Which parts are asked of the tiny line, and why others are not."""

import re
from pathlib import Path

import pytest

from recipes.formats.params import Table
from recipes.formats.sanity import Sanity, parse_sanity
from recipes.formats.step import StepError
from recipes.steps.sanity.main import parts
from recipes.steps.sanity.tasks import _refuse as refuse
from release import recipe as recipes
from release.errors import ConfigError
from tests.unit.formats.serving.profiles import PROJECT, small

TINY = PROJECT / "recipes" / "tiny"


def wanted(**tables: object) -> Sanity:
    least: dict[str, object] = {"seed": 1, "concurrency": 4, "max_tokens": 64}
    return parse_sanity(Table("sanity", {**least, **tables}))


def test_each_part_is_asked_or_says_why_not() -> None:
    recipe = recipes.load(TINY)
    sanity = parse_sanity(Table("sanity", recipe.sanity))
    serve = small(reasoning_parser="qwen3")  # no tool parser, no vision tower
    found = {part.name: part.why_not for part in parts(sanity, serve, TINY / "sanity", TINY)}
    assert found == {
        "tasks": "",
        "termination": "",
        "budget": "",
        "tools": "the profile has no tool parser",
        "needle": "",
        "vision": "the profile serves without the vision tower",
    }
    left_out = {part.why_not for part in parts(wanted(), serve, TINY / "sanity", TINY)}
    assert left_out == {"the recipe leaves it out"}


def test_questions_that_are_not_there_are_missed_before_a_server_starts(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"tools\.jsonl of the source sanity"):
        list(parts(wanted(tools={}), small(tool_parser="qwen3_xml"), tmp_path, tmp_path))


def test_a_task_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "math.yaml").write_text("task: math\ndoc_to_text: !function utils.text\n")
    with pytest.raises(StepError, match="runs code of the recipe's folder"):
        refuse(["math"], tmp_path)
    with pytest.raises(StepError, match="no such task; there are: math"):
        refuse(["maths"], tmp_path)


def copied(folder: Path, old: str, new: str) -> Path:
    text = (TINY / "recipe.toml").read_text()
    assert re.search(old, text)
    (folder / "recipe.toml").write_text(re.sub(old, new, text, flags=re.DOTALL))
    return folder


def test_a_recipe_has_the_table_and_the_questions_or_neither(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the table and the source of this name, or neither"):
        recipes.load(copied(tmp_path, r'sanity = "path:sanity"[^\n]*\n', ""))
    with pytest.raises(ConfigError, match="expected at most 896"):
        recipes.load(copied(tmp_path, r"tokens = \[160, 800\]", "tokens = [160, 1000]"))
