"""Prompts are read strictly: a line that is skipped would change the figure."""

import pytest

from recipes.formats.step import StepError
from recipes.steps.smoke import battery

LINE = '{"id": "a-0", "domain": "a", "messages": [{"role": "user", "content": "hi"}]}'


def test_tools_and_thinking_may_be_left_out() -> None:
    (prompt,) = battery.parse(LINE + "\n\n")
    assert (prompt.id, prompt.domain, prompt.tools, prompt.thinking) == ("a-0", "a", (), False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "found none"),
        (f"{LINE}\n{LINE}\n", "found 2 with 1 different ids"),
        (f"{LINE}\n{{", "prompts.jsonl:2: expected JSON"),
        ('{"id": "a", "domain": "b", "messages": []}', "prompts.jsonl:1: expected id, domain and messages"),
        ('{"id": 3, "domain": "b", "messages": [{}]}', "prompts.jsonl:1: expected id, domain and messages"),
    ],
)
def test_a_battery_that_is_not_one_is_refused_by_line(text: str, says: str) -> None:
    with pytest.raises(StepError, match=says):
        battery.parse(text)
