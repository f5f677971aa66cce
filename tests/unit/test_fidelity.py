"""What gates make of the comparison with the master: intervals over texts, and results too good to be."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.formats.evidence import Evidence, Measurement
from release import fidelity
from release.bootstrap import mean_interval
from release.digest import Json
from release.errors import ConfigError
from release.fidelity import Row
from release.gates.judging import Found, judge_all
from release.gates.wanted import parse_gates
from release.verdicts import Outcome, Verdict

INPUTS = ("fidelity", "prove")
KL: dict[str, Json] = {"name": "divergence", "figure": "fidelity.kl_mean", "at_most": 0.05, "margin": 0.03}

texts = st.lists(st.tuples(st.floats(0, 50), st.integers(1, 500)), min_size=2, max_size=12)


def row(number: int, kl: float, positions: int = 100, domain: str = "text") -> Row:
    return Row(
        id=f"text-{number}",
        domain=domain,
        positions=positions,
        kl=kl,
        agree=positions - 5,
        master_nll=positions * 1.5,
        nvfp4_nll=positions * 1.52,
    )


def evidence_of(**figures: float) -> Evidence:
    return Evidence(
        measurements=tuple(
            Measurement(name=name, value=value, unit="nats/token", n=400, how="over 4 texts")
            for name, value in figures.items()
        )
    )


def judge(gate: Json, evidence: Evidence, rows: tuple[Row, ...] = ()) -> Verdict:
    found = Found(evidence={"fidelity": evidence, "prove": Evidence()}, rows=rows)
    return judge_all(parse_gates([gate], INPUTS), found).gates[0]


@settings(max_examples=40, deadline=None)
@given(texts)
def test_the_interval_lies_within_what_texts_show(pairs: list[tuple[float, int]]) -> None:
    found = mean_interval(pairs, resamples=200)
    means = [total / count for total, count in pairs]
    slack = 1e-9 * max(1.0, *means)
    assert min(means) - slack <= found.low <= found.high <= max(means) + slack
    assert found == mean_interval(list(pairs), resamples=200)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 5), st.integers(2, 9))
def test_texts_that_are_alike_leave_no_doubt(mean: float, count: int) -> None:
    found = mean_interval([(mean * 64, 64)] * count, resamples=50)
    assert found.width == pytest.approx(0, abs=1e-9) and found.low == pytest.approx(mean)


def test_a_ratio_of_perplexities_is_the_exponential_of_a_mean() -> None:
    found = fidelity.interval_of("perplexity_ratio", [row(1, 1.0), row(2, 1.0)])
    assert found.low == found.high == pytest.approx(math.exp(0.02))


def test_a_domain_is_drawn_from_its_own_texts() -> None:
    rows = [row(1, 1.0), row(2, 1.0), row(3, 9.0, domain="code"), row(4, 9.0, domain="code")]
    assert fidelity.interval_of("kl_mean.code", rows).high == pytest.approx(0.09)
    assert fidelity.interval_of("kl_mean", rows).prompts == 4


def test_a_ceiling_holds_the_upper_bound() -> None:
    rows = tuple(row(number, kl) for number, kl in enumerate((3.0, 3.0, 4.0, 5.0)))
    verdict = judge(KL, evidence_of(kl_mean=0.0375), rows)
    assert verdict.holds and verdict.interval is not None
    assert verdict.interval[0] < 0.0375 < verdict.interval[1] <= 0.05
    assert "over 4 texts, wanted at most 0.05 for the upper 95 % bound" in verdict.sentence
    spread = tuple(row(number, kl) for number, kl in enumerate((0.5, 0.5, 6.0, 6.0)))
    assert judge({**KL, "margin": 0.1}, evidence_of(kl_mean=0.0325), spread).outcome is Outcome.FAIL


def test_an_interval_wider_than_the_margin_decides_nothing() -> None:
    spread = tuple(row(number, kl) for number, kl in enumerate((0.1, 0.1, 4.5, 4.5)))
    verdict = judge({**KL, "at_most": 1.0}, evidence_of(kl_mean=0.023), spread)
    assert verdict.outcome is Outcome.FAIL and "inconclusive: wider than 0.03" in verdict.sentence


def test_one_text_is_no_measurement() -> None:
    verdict = judge(KL, evidence_of(kl_mean=0.01), (row(1, 1.0),))
    assert verdict.outcome is Outcome.NOT_MEASURED and "1 texts" in verdict.sentence


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"kl_mean": 0.0}, "exactly 0"),
        ({"kl_mean": -0.01}, "below 0"),
        ({"kl_mean": 0.02, "perplexity_master": 10.0, "perplexity_nvfp4": 9.4}, "better by more than 5 %"),
    ],
)
def test_what_is_too_good_fails(figures: dict[str, float], words: str) -> None:
    gate: Json = {"name": "divergence", "figure": "fidelity.kl_mean", "at_most": 0.05}
    verdict = judge(gate, evidence_of(**figures))
    assert verdict.outcome is Outcome.FAIL
    assert "anomalous: " in verdict.sentence and words in verdict.sentence


def test_a_tower_that_was_left_alone_is_not_too_good() -> None:
    gate: Json = {"name": "tower", "figure": "fidelity.vision_relative_error", "at_most": 0}
    figures = {"kl_mean": 0.02, "vision_relative_error": 0.0}
    assert judge(gate, evidence_of(**figures)).holds
    assert not judge(gate, evidence_of(**figures | {"vision_relative_error": 1e-4})).holds


def test_a_margin_belongs_to_a_figure_with_an_interval() -> None:
    with pytest.raises(ConfigError, match=r"margin: expected .*fidelity\.kl_mean"):
        parse_gates([{**KL, "figure": "fidelity.kl_p99"}], INPUTS)


def test_rows_are_read_and_a_bad_one_is_named(tmp_path: Path) -> None:
    good = {name: getattr(row(1, 1.0), name) for name in Row.__dataclass_fields__}
    (tmp_path / "rows.jsonl").write_text(json.dumps(good) + "\n")
    assert fidelity.read_rows(tmp_path) == (row(1, 1.0),)
    (tmp_path / "rows.jsonl").write_text(json.dumps(good) + '\n{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl:2"):
        fidelity.read_rows(tmp_path)
