"""The steps of a release with and without what may be asked for besides."""

from dataclasses import replace

import pytest

from release import line as lines
from release.errors import ConfigError, UsageError
from release.preparing import Order, open_order
from release.recipe import find, load, require_soak_gates
from release.report.terminal import Terminal


def test_a_soak_is_two_steps_more_and_changes_no_other() -> None:
    line = lines.open_line("tiny")
    lock = line.locked()
    plain, soaked = line.steps_of(lock, "0.1.0").steps, line.steps_of(lock, "0.1.0", soak=5).steps
    assert soaked[: len(plain)] == plain
    assert [step.name for step in soaked[len(plain) :]] == ["soak", "gate-soak"]
    soak, gate = soaked[-2:]
    assert soak.params["minutes"] == 5
    assert soak.timeout_s > 5 * 60
    assert gate.check == "gates"
    figures = [str(row["figure"]) for row in gate.params["gates"]]  # type: ignore[union-attr, index, call-overload]
    assert figures == ["soak.length_change_low", "soak.server_memory_growth_high"]
    (judged,) = (step for step in plain if step.name == "gate")
    assert "soak." not in str(judged.params), "what is not asked for fails no release"


@pytest.mark.parametrize("name", ["tiny", "qwen3.6-27b-vlm-cascade"])
def test_every_recipe_says_what_a_soak_is_held_against(name: str) -> None:
    require_soak_gates(load(find(lines.PROJECT, name)))


def test_minutes_before_zero_are_refused() -> None:
    with pytest.raises(UsageError, match="--soak -3: expected minutes"):
        open_order(Order(recipe="tiny", version="0.1.0", soak=-3), Terminal())


def test_a_soak_that_nothing_is_held_against_is_refused() -> None:
    recipe = load(find(lines.PROJECT, "tiny"))
    with pytest.raises(ConfigError, match="expected a figure soak"):
        require_soak_gates(replace(recipe, soak_gates=()))
