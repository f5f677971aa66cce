"""The table [sanity]: parts that are left out, texts that do not fit, answers that pair."""

import pytest

from recipes.formats.params import Table
from recipes.formats.sanity import (
    Answer,
    Sanity,
    dump_answers,
    parse_answers,
    parse_sanity,
    refuse_unfit,
)
from tests.unit.formats.serving.profiles import small

LEAST: dict[str, object] = {"seed": 1, "concurrency": 4, "max_tokens": 64}


def parsed(**tables: object) -> Sanity:
    return parse_sanity(Table("recipe.toml: sanity", {**LEAST, **tables}))


def test_a_part_that_is_left_out_is_off_and_an_empty_table_is_on() -> None:
    assert parsed().tools is False
    assert parsed(tools={}).tools is True
    assert parsed().needle is None
    assert parsed(budget={"tokens": 16}).budget == 16


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"tasks": {"names": []}}, "names of tasks"),
        ({"needle": {"tokens": [100], "depths": [1.5]}}, "shares from 0 to 1"),
        ({"termination": {"repetition_penalties": [], "max_tokens": 8}}, "list of numbers"),
        ({"tools": {"turns": 3}}, "unknown key: turns"),
        ({"visoin": {}}, "unknown key: visoin"),
    ],
)
def test_a_mistake_is_named(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(**table)


def test_a_text_must_fit_with_its_answer() -> None:
    serve = small()
    fits = serve.max_model_len - 64
    refuse_unfit(parsed(needle={"tokens": [fits], "depths": [0.5]}), serve)
    with pytest.raises(ValueError, match=f"expected at most {fits}"):
        refuse_unfit(parsed(needle={"tokens": [fits + 1], "depths": [0.5]}), serve)


def test_answers_come_back_and_twins_are_refused() -> None:
    answers = [
        Answer(task="math", id="a", right=True, said="4\n"),
        Answer(task="math", id="b", right=False, said="ü"),
    ]
    assert parse_answers(dump_answers(answers)) == {"math": {"a": True, "b": False}}
    with pytest.raises(ValueError, match="two answers called a"):
        dump_answers([answers[0], answers[0]])
    with pytest.raises(ValueError, match=r"answers.jsonl:1"):
        parse_answers('{"task": "math"}\n')
