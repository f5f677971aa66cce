"""Both models' answers side by side: on the card, on the report, and where they do not pair."""

from pathlib import Path

import pytest

from recipes.formats import evidence
from recipes.formats.evidence import EVIDENCE_FILE, Evidence, Measurement
from recipes.formats.sanity import ANSWERS_FILE, Answer, dump_answers
from release.answered import answered
from release.card.step import CARD
from release.errors import ConfigError
from release.hoststep import Inputs
from release.report.page import PAGE_FILE, REPORT
from tests.unit.card.inputs import Case, params, shown, write
from tests.unit.report_page.test_page import PARAMS, timeline

PARTS = {
    "tasks": "measured",
    "tools": "the recipe leaves it out",
    "needle": "the recipe leaves it out",
    "vision": "the profile serves without the vision tower",
}


def asked(root: Path, *, ours: int = 45, theirs: int = 47, n: int = 48) -> Inputs:
    """Write both trees' answers to one task, of which so many are right."""
    for kind, right in (("nvfp4", ours), ("master", theirs)):
        answers = [Answer(task="short_math", id=f"q{at}", right=at < right, said="4 | 5") for at in range(n)]
        share = Measurement(
            name="short_math", value=right / n, unit="fraction", n=n, how="right | wrong, at temperature 0"
        )
        found = Evidence(measurements=(share,), facts={"parts": PARTS})
        write(root / f"sanity-{kind}" / EVIDENCE_FILE, evidence.dump(found))
        write(root / f"sanity-{kind}" / ANSWERS_FILE, dump_answers(answers))
    return {f"sanity-{kind}": shown(root / f"sanity-{kind}") for kind in ("nvfp4", "master")}


def test_a_row_has_both_shares_what_differs_and_what_could_be_shown(tmp_path: Path) -> None:
    (row,) = answered(asked(tmp_path)).rows
    assert (row.task, row.nvfp4, row.master, row.difference) == ("short math", "93.8 %", "97.9 %", "-4.2")
    assert (row.differ, row.p, row.resolution) == ("2 lost, 0 gained", "0.5", "12.5")


def test_parts_that_were_not_asked_stand_together_with_their_reason(tmp_path: Path) -> None:
    assert answered(asked(tmp_path)).unasked == (
        ("tool calls over several turns, a fact in a long text", "the recipe leaves it out"),
        ("pictures and a video", "the profile serves without the vision tower"),
    )
    ((parts, why),) = answered({}).unasked
    assert parts.startswith("short answers, ")
    assert why == "the recipe asks nothing of the served models"


def test_answers_to_other_questions_do_not_pair(tmp_path: Path) -> None:
    inputs = asked(tmp_path)
    one = [Answer(task="short_math", id="q0", right=True, said="")]
    write(tmp_path / "sanity-master" / ANSWERS_FILE, dump_answers(one))
    with pytest.raises(ConfigError, match="do not pair"):
        answered(inputs)


def test_card_and_report_show_the_table(tmp_path: Path) -> None:
    inputs = dict(Case().write(tmp_path))
    inputs |= asked(tmp_path)
    card = CARD.function(inputs, params("nvfp4")).new["README.md"].decode()
    assert "| short math | 48 | 93.8 % | 97.9 % | -4.2 |" in card
    assert r"- short math: right \| wrong, at temperature 0." in card
    assert "They are no benchmark" in card
    assert "no benchmark was run" not in card
    for kind in ("nvfp4", "master"):
        write(tmp_path / f"smoke-{kind}" / "memory.jsonl", timeline())
        inputs[f"smoke-{kind}"] = shown(tmp_path / f"smoke-{kind}")
    page = REPORT.function(inputs, PARAMS).new[PAGE_FILE].decode()
    assert "<td>short math</td><td>48</td><td>93.8 %</td>" in page
    assert "the profile serves without the vision tower" in page
