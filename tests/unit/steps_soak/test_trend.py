"""The trend of a series, and how sure it is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.steps.soak.trend import FEWEST, trend


def test_a_straight_line_has_its_slope_and_no_doubt() -> None:
    found = trend(list(range(20)), [3.0 + 2.0 * at for at in range(20)])
    assert (found.slope, found.low, found.high) == (2.0, 2.0, 2.0)


def test_slope_and_bounds_are_the_8th_3rd_and_13th_of_the_15_slopes_of_six_points() -> None:
    # 1.645 x sqrt(6 x 5 x 17 / 18) is 8.76: ranks (15 -+ 8.76) / 2 are 3.1 and 11.9, rounded outwards,
    # and the upper bound is one rank above.
    values = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    slopes = sorted((values[b] - values[a]) / (b - a) for b in range(6) for a in range(b))
    found = trend(list(range(6)), values)
    assert (found.low, found.slope, found.high) == (slopes[2], slopes[7], slopes[12])


def test_noise_without_a_trend_has_bounds_on_both_sides() -> None:
    draw = random.Random(3)  # noqa: S311 - a test
    found = trend(list(range(40)), [draw.gauss(0, 1) for _ in range(40)])
    assert found.low < 0 < found.high


def test_the_bounds_hold_the_truth_as_often_as_they_say() -> None:
    draw, inside = random.Random(7), 0  # noqa: S311 - a test
    for _ in range(300):
        values = [0.5 * at + draw.gauss(0, 3) for at in range(12)]
        found = trend(list(range(12)), values)
        inside += found.high >= 0.5
    assert inside / 300 >= 0.93, "one-sided 95 %"


def test_one_burst_of_a_neighbour_moves_nothing() -> None:
    values = [100.0] * 15
    values[7] = 100_000.0
    assert trend(list(range(15)), values).slope == 0.0


def test_too_few_readings_are_no_trend() -> None:
    with pytest.raises(ValueError, match=f"5 readings: a trend needs {FEWEST}"):
        trend([1, 2, 3, 4, 5], [0.0] * 5)


@given(st.lists(st.floats(-1e9, 1e9), min_size=6, max_size=30), st.floats(0.5, 100))
def test_a_trend_scales_with_its_series(values: list[float], factor: float) -> None:
    times = list(range(len(values)))
    found, scaled = trend(times, values), trend(times, [factor * value for value in values])
    assert found.low <= found.slope <= found.high
    assert scaled.high == pytest.approx(factor * found.high, rel=1e-6, abs=1e-3)
