"""Several boots made one figure."""

import pytest

from recipes.formats.evidence import Measurement
from recipes.steps.smoke import boot


def rate(value: float) -> list[Measurement]:
    return [
        Measurement(name="output_tokens_per_second_c1", value=value, unit="tokens/s", n=4, how="bench"),
        Measurement(name="ttft_ms_mean_c1", value=1000 / value, unit="ms", n=4, how="bench"),
    ]


def test_a_figure_is_the_median_of_the_boots_and_a_rate_says_how_far_they_lie_apart() -> None:
    found = {figure.name: figure for figure in boot.combined([rate(10.0), rate(11.0), rate(10.4)])}
    assert list(found) == [
        "output_tokens_per_second_c1",
        "output_tokens_per_second_c1_boot_range",
        "ttft_ms_mean_c1",
    ]
    assert found["output_tokens_per_second_c1"].value == 10.4
    assert found["output_tokens_per_second_c1"].n == 12
    assert found["output_tokens_per_second_c1_boot_range"].value == pytest.approx(1.0 / 10.4)
    assert found["output_tokens_per_second_c1_boot_range"].n == 3
    assert "10, 11, 10.4 tokens/s" in found["output_tokens_per_second_c1_boot_range"].how


def test_one_boot_is_what_it_is_and_says_nothing_of_a_range() -> None:
    assert boot.combined([rate(10.0)]) == rate(10.0)
