"""Figures that cannot be together are found, whatever each of them says alone."""

import pytest

from recipes.formats.evidence import Evidence, Measurement
from release.plausible import contradiction


def evidence(k: int = 2, drafts: int = 100, **values: float) -> Evidence:
    return Evidence(
        measurements=tuple(
            Measurement(name=name, value=value, unit="", n=48, how="") for name, value in values.items()
        ),
        facts={"speculative_tokens": k, "drafting": {"drafts": drafts}},
    )


def test_the_seeds_figures_agree() -> None:
    whole = evidence(acceptance_length=2.6, acceptance_rate=0.8, acceptance_pos_0=0.88, acceptance_pos_1=0.72)
    assert contradiction(whole) is None
    assert contradiction(Evidence()) is None


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (evidence(drafts=0, acceptance_length=1.0), "nothing was drafted"),
        (evidence(acceptance_length=2.4, acceptance_rate=0.8), "0.7000 and the rate is 0.8000"),
        (evidence(acceptance_length=0.9), "cannot be with 2 draft tokens"),
        (evidence(acceptance_length=2.6, acceptance_pos_0=0.7, acceptance_pos_1=0.9), "position 1 is kept"),
    ],
)
def test_what_cannot_be_is_named(found: Evidence, says: str) -> None:
    assert says in (contradiction(found) or "")
