"""When an answer is right: words, tool calls, ends of thinking, and what the harness wrote."""

import pytest

from recipes.formats.sanity import Answer
from recipes.formats.step import StepError
from recipes.steps.sanity import harness, needle, tasks
from recipes.steps.sanity.figures import figures
from recipes.steps.sanity.questions import Hidden, Use
from recipes.steps.sanity.saying import says
from recipes.steps.sanity.thinking import clean
from recipes.steps.sanity.tools import right, valid
from recipes.steps.smoke.conversation import Call, Turn

BOOK = {
    "type": "function",
    "function": {
        "name": "find_book",
        "parameters": {
            "type": "object",
            "properties": {"topic": {"type": "string"}, "shelf": {"type": "integer"}},
            "required": ["topic"],
        },
    },
}


def call(name: str, arguments: str) -> Call:
    return Call(id="c", name=name, arguments=arguments)


def turn(content: str, reasoning: str = "", finish: str = "stop") -> Turn:
    return Turn(content=content, reasoning=reasoning, calls=(), finish_reason=finish, tokens=1, pieces=1)


@pytest.mark.parametrize(
    ("reply", "answer", "others", "said"),
    [
        ("There are three circles.", "3", ["1", "2", "3", "4"], True),
        ("3", "3", ["1", "2"], True),
        ("13", "3", [], False),
        ("It is red or blue.", "red", ["red", "blue"], False),
        ("It is RED.", "red", ["red", "blue"], True),
        ("KVARN", "kvarn", [], True),
        ("", "3", [], False),
    ],
)
def test_a_reply_says_an_answer_alone(reply: str, answer: str, others: list[str], said: bool) -> None:
    assert says(reply, answer, others) is said


@pytest.mark.parametrize(
    ("calls", "is_valid"),
    [
        ([], False),
        ([call("find_book", '{"topic": "rivers"}')], True),
        ([call("find_book", '{"topic": "rivers", "shelf": "12"}')], False),
        ([call("find_book", '{"shelf": 12}')], False),
        ([call("find_book", '{"topic": "rivers", "colour": "red"}')], False),
        ([call("find_book", '["rivers"]')], False),
        ([call("find_book", '{"topic": "riv')], False),
        ([call("burn_book", '{"topic": "rivers"}')], False),
        ([call("find_book", '{"topic": "rivers"}'), call("burn_book", "{}")], False),
    ],
)
def test_a_valid_call_is_one_that_the_offered_schema_admits(calls: list[Call], is_valid: bool) -> None:
    assert valid(calls, [BOOK]) is is_valid


def test_a_right_call_is_the_one_that_was_asked_for() -> None:
    use = Use(ask="Where?", name="find_book", arguments={"topic": "rivers"}, result={})
    assert right([call("find_book", '{"topic": "rivers"}')], use)
    assert not right([call("find_book", '{"topic": "trees"}')], use)
    assert not right([call("find_book", '{"topic": "rivers"}')] * 2, use)


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        (turn("4", "2 + 2"), True),
        (turn("4", "2 + 2", "length"), False),
        (turn("", "2 + 2"), False),
        (turn("2 + 2</think>4"), False),
    ],
)
def test_a_clean_end_is_a_closed_trace_and_an_answer(reply: Turn, ended: bool) -> None:
    assert clean(reply) is ended


def test_a_text_is_filled_up_to_its_length_and_holds_the_fact_at_its_depth() -> None:
    assert needle.fill(25, [10, 6]) == [0, 1]
    assert needle.fill(32, [10, 6]) == [0, 1, 0, 1]
    with pytest.raises(StepError, match="no sentence fits"):
        needle.fill(5, [10, 6])
    fact = Hidden(id="f", fact="FACT", ask="ASK", answer="1")
    assert needle.bury(fact, ["a", "b", "c", "d"], 0.5).split() == ["a", "b", "FACT", "c", "d", "ASK"]
    assert needle.bury(fact, ["a"], 0).split() == ["FACT", "a", "ASK"]


def sample(name: str, score: float, used: str = "answer") -> dict[str, object]:
    return {
        "filter": used,
        "metrics": ["exact_match"],
        "exact_match": score,
        "doc": {"id": name},
        "resps": [["said"]],
    }


def test_the_harness_is_read_by_its_first_filter_and_only_right_or_wrong() -> None:
    found = harness.rows([sample("a", 1.0), sample("a", 0.0, "other"), sample("b", 0.0)])
    assert [(row["id"], row["right"]) for row in found] == [("a", True), ("b", False)]
    with pytest.raises(ValueError, match="right or wrong"):
        harness.rows([sample("a", 0.5)])
    with pytest.raises(ValueError, match="same id"):
        harness.rows([sample("a", 1.0), sample("a", 1.0)])


def test_a_task_without_answers_is_an_error() -> None:
    line = '{"task": "math", "id": "a", "right": true, "said": "4", "version": "1"}\n'
    assert tasks.parse(line, ["math"]) == [Answer(task="math", id="a", right=True, said="4")]
    with pytest.raises(StepError, match="no answers to code"):
        tasks.parse(line, ["math", "code"])


def test_a_figure_is_the_share_of_right_answers() -> None:
    answers = [Answer(task="math", id=str(at), right=at < 3, said="") for at in range(4)]
    (figure,) = figures(answers, (), "temperature 0")
    assert (figure.name, figure.value, figure.n, figure.unit) == ("math", 0.75, 4, "fraction")
