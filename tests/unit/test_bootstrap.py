"""The interval of a ratio: it repeats, it narrows with prompts, and it holds the truth."""

import json
import random
from pathlib import Path

import pytest

from release.bootstrap import Drafts, ratio_interval, read_drafts


def replies(seed: int, chance: float, prompts: int, drafts: int = 40) -> dict[str, Drafts]:
    """Return replies that keep each of two draft tokens with a chance that differs by prompt."""
    draw = random.Random(seed)  # noqa: S311 - drawn alike each time
    found = {}
    for at in range(prompts):
        spread = random.Random(at).gauss(0, 0.05)  # noqa: S311
        own = min(1.0, max(0.0, chance + spread))
        found[f"p{at}"] = Drafts(drafts, sum(draw.random() < own for _ in range(2 * drafts)))
    return found


def test_the_same_replies_give_the_same_interval() -> None:
    ours, theirs = replies(1, 0.82, 48), replies(2, 0.83, 48)
    assert ratio_interval(ours, theirs, 500) == ratio_interval(ours, theirs, 500)


def test_more_prompts_narrow_it_and_equal_trees_lie_within() -> None:
    few = ratio_interval(replies(1, 0.8, 12), replies(2, 0.8, 12), 1000)
    many = ratio_interval(replies(1, 0.8, 192), replies(2, 0.8, 192), 1000)
    assert many.width < few.width / 2
    assert few.low < 1 < few.high


def test_it_holds_the_true_ratio_as_often_as_it_says() -> None:
    inside = sum(
        bounds.low <= 1 <= bounds.high
        for seed in range(60)
        for bounds in [ratio_interval(replies(seed, 0.8, 40), replies(1000 + seed, 0.8, 40), 400)]
    )
    assert 48 <= inside <= 60, "nine of ten; a binomial of 60 leaves this band once in 300"


def test_a_head_that_is_kept_less_often_is_told_apart() -> None:
    assert ratio_interval(replies(1, 0.70, 48), replies(2, 0.83, 48), 1000).high < 0.95


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (replies(1, 0.8, 4), replies(1, 0.8, 5), "do not pair: p4"),
        (replies(1, 0.8, 1), replies(1, 0.8, 1), "too few"),
        ({"a": Drafts(0, 0), "b": Drafts(0, 0)}, {"a": Drafts(4, 2), "b": Drafts(4, 2)}, "ours drafted"),
    ],
)
def test_replies_that_give_no_interval_say_why(
    ours: dict[str, Drafts], theirs: dict[str, Drafts], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ratio_interval(ours, theirs, 10)


def test_a_reply_without_its_drafts_is_named_by_line(tmp_path: Path) -> None:
    told = {"id": "a", "drafts": {"drafts": 3, "accepted": 2, "draft_tokens": 6}}
    silent = {"id": "b", "drafts": None}
    (tmp_path / "replies.jsonl").write_text(json.dumps(told) + "\n" + json.dumps(silent) + "\n")
    with pytest.raises(ValueError, match=r"replies\.jsonl:2: expected a reply that tells its drafts"):
        read_drafts(tmp_path)
