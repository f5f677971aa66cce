"""Prometheus text of a real server, cut to what matters here."""

import pytest

from recipes.formats.step import StepError
from recipes.steps.smoke import metrics
from recipes.steps.smoke.metrics import Drafting

LABELS = 'engine="0",model_name="model"'


def exposition(drafts: int, tokens: int, first: int, second: int) -> str:
    name = "vllm:spec_decode_num_"
    return "\n".join(
        [
            f"# HELP {name}drafts_total Number of spec decoding drafts.",
            f"# TYPE {name}drafts_total counter",
            f"{name}drafts_total{{{LABELS}}} {drafts}.0",
            f"# TYPE {name}drafts_created gauge",
            f"{name}drafts_created{{{LABELS}}} 1.795425773223456e+09",
            f"{name}draft_tokens_total{{{LABELS}}} {tokens}.0",
            f"{name}accepted_tokens_total{{{LABELS}}} {first + second}.0",
            f'{name}accepted_tokens_per_pos_total{{{LABELS},position="0"}} {first}.0',
            f'{name}accepted_tokens_per_pos_total{{{LABELS},position="1"}} {second}.0',
            f'{name}accepted_tokens_per_pos_created{{{LABELS},position="0"}} 1.795425773223547e+09',
            f"vllm:time_to_first_token_seconds_count{{{LABELS}}} {drafts}.0",
            f"vllm:time_to_first_token_seconds_sum{{{LABELS}}} {drafts / 10}",
            "",
        ]
    )


def test_figures_are_the_difference_of_two_readings() -> None:
    before, after = metrics.parse(exposition(10, 20, 9, 8)), metrics.parse(exposition(110, 220, 89, 68))
    assert metrics.spec_decode(before, after) == Drafting(
        drafts=100, draft_tokens=200, accepted=140, accepted_at=(80, 60)
    )


def test_a_counter_of_two_engines_is_summed() -> None:
    reading = metrics.parse('up{engine="0"} 3\nup{engine="1"} 4\n')
    assert reading.total("up") == 7
    assert reading.by_label("up", "engine") == {"0": 3, "1": 4}


def test_positions_are_ordered_by_number_not_by_text() -> None:
    name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    lines = [f'{name}{{position="{at}"}} {100 - at}' for at in (10, 2, 0)]
    rest = "\n".join(
        f"vllm:spec_decode_num_{what}_total 1" for what in ("drafts", "draft_tokens", "accepted_tokens")
    )
    found = metrics.spec_decode(metrics.parse(""), metrics.parse("\n".join(lines) + "\n" + rest))
    assert found is not None
    assert found.accepted_at == (100, 98, 90)


def test_times_of_creation_are_no_counters() -> None:
    assert metrics.parse("a_created 1.7e9\n").total("a_created") is None


def test_a_missing_counter_is_absent_and_not_zero() -> None:
    empty = metrics.parse("vllm:generation_tokens_total 5\n")
    assert metrics.spec_decode(empty, empty) is None
    assert metrics.growth(empty, empty, "vllm:prompt_tokens_total") is None


def test_a_counter_that_appears_in_between_grew_from_nothing() -> None:
    assert metrics.growth(metrics.parse(""), metrics.parse("x_total 4"), "x_total") == 4


def test_a_counter_that_fell_means_a_restart() -> None:
    with pytest.raises(StepError, match="x_total fell by 3: the server was restarted"):
        metrics.growth(metrics.parse("x_total 5"), metrics.parse("x_total 2"), "x_total")


@pytest.mark.parametrize("text", ["<html>not found</html>", "name{open 3"])
def test_what_is_no_sample_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="expected a sample"):
        metrics.parse(text)


def test_labels_may_hold_commas_braces_and_escaped_quotes() -> None:
    reading = metrics.parse(r'x_total{model="a,\"b}",position="1"} 2 1700000000')
    assert reading.by_label("x_total", "position") == {"1": 2}
