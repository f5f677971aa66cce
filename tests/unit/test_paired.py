"""Paired answers: exact tests against values by hand, bounds against a search, gains that are too good."""

import math

import pytest

from release.paired import Paired, Z, compare, compare_all, judge, mcnemar, narrowest


def pair(n: int, lost: int, gained: int) -> Paired:
    return Paired(n=n, ours=0, theirs=0, lost=lost, gained=gained)


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),
        (0, 5, 2 / 32),
        (0, 6, 2 / 64),
        (2, 12, 2 * (1 + 14 + 91) / 2**14),
        (3, 3, 1.0),
        (7, 7, 1.0),
    ],
)
def test_mcnemar_is_the_binomial_by_hand(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p, abs=1e-15)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


def searched(lost: int, gained: int, n: int, delta: float) -> float:
    """Return the score statistic with the likeliest share found by search instead of a formula."""

    def likelihood(alone: float) -> float:
        both = alone + delta
        rest = 1 - alone - both
        parts = ((gained, both), (lost, alone), (n - lost - gained, rest))
        if any(share < 0 or (count and share <= 0) for count, share in parts):
            return -math.inf
        return sum(count * math.log(share) for count, share in parts if count)

    grid = 20_000
    alone = max(
        (max(0.0, -delta) + (1 - abs(delta)) / 2 * at / grid for at in range(grid + 1)), key=likelihood
    )
    return (gained - lost - n * delta) / math.sqrt(n * (2 * alone + delta * (1 - delta)))


@pytest.mark.parametrize(("n", "lost", "gained"), [(50, 2, 12), (48, 6, 3), (30, 0, 4), (200, 11, 4)])
def test_both_bounds_are_where_the_score_reaches_its_quantile(n: int, lost: int, gained: int) -> None:
    low, high = pair(n, lost, gained).bounds
    assert low < (gained - lost) / n < high
    assert searched(lost, gained, n, low) == pytest.approx(Z, abs=2e-3)
    assert searched(gained, lost, n, -high) == pytest.approx(Z, abs=2e-3)


@pytest.mark.parametrize("n", [6, 24, 200])
def test_equal_answers_leave_a_bound_that_their_number_decides(n: int) -> None:
    assert pair(n, 0, 0).bounds == pytest.approx((-narrowest(n), narrowest(n)), abs=1e-12)


def test_the_resolution_is_six_of_n_where_nothing_differs_and_more_with_noise() -> None:
    assert pair(200, 0, 0).resolution == 6 / 200
    assert pair(5, 0, 0).resolution > 1
    noisy = pair(200, 4, 4)
    assert mcnemar(4, 4 + round(noisy.resolution * 200)) <= 0.05
    assert mcnemar(4, 3 + round(noisy.resolution * 200)) > 0.05


def test_a_gain_is_anomalous_only_where_the_questions_show_it() -> None:
    shown = judge(pair(200, 2, 14), -0.1)
    assert shown.anomalous
    assert not shown.holds
    assert "anomalous" in shown.words
    chance = judge(pair(24, 1, 3), -0.5)  # 8 points of 24 questions
    assert chance.holds
    assert not judge(pair(400, 1, 12), -0.1).anomalous  # shown, and under 5 points


def test_a_loss_and_noise_fail_and_too_few_questions_are_no_answer() -> None:
    assert judge(pair(100, 1, 1), -0.05).holds
    assert not judge(pair(100, 8, 1), -0.05).holds
    with pytest.raises(ValueError, match="24 questions cannot show it"):
        judge(pair(24, 0, 0), -0.05)


def test_answers_pair_by_their_id_or_not_at_all() -> None:
    found = compare({"a": True, "b": False, "c": True}, {"c": False, "b": True, "a": True})
    assert (found.n, found.ours, found.theirs, found.lost, found.gained) == (3, 2, 2, 1, 1)
    with pytest.raises(ValueError, match="do not pair: b"):
        compare({"a": True}, {"a": True, "b": True})
    with pytest.raises(ValueError, match="tasks that do not pair: math"):
        compare_all({"math": {"a": True}}, {})
