"""Gates: what passes, what fails, and what the message of a failure names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.formats import evidence
from recipes.formats.evidence import Evidence, Measurement, Proof
from release import verdicts
from release.bootstrap import Drafts
from release.digest import Json, Tree
from release.errors import ConfigError, GateError, ProofError
from release.gates.judging import Found, judge_all
from release.gates.step import GATE
from release.gates.wanted import parse_gates
from release.hoststep import Input
from release.verdicts import Outcome, Verdict, Verdicts

INPUTS = ("prove", "smoke-master", "smoke-nvfp4")
LENGTH: Json = {"name": "length", "figure": "smoke-nvfp4.acceptance_length", "at_least": 2.5, "k": 2}
SHARE: Json = {
    "name": "share",
    "figure": "smoke-nvfp4.acceptance_length",
    "relative_to": "smoke-master.acceptance_length",
    "at_least": 0.95,
}


def _length(value: float, n: int = 48, name: str = "acceptance_length", k: int = 2) -> Evidence:
    figure = Measurement(name=name, value=value, unit="tokens/draft", n=n, how="1 + accepted / drafts")
    return Evidence(measurements=(figure,), facts={"speculative_tokens": k})


def _judge(
    gate: Json, nvfp4: Evidence, master: Evidence | None = None, proofs: tuple[Proof, ...] = ()
) -> Verdicts:
    found = {"prove": Evidence(proofs=proofs), "smoke-nvfp4": nvfp4, "smoke-master": master or Evidence()}
    return judge_all(parse_gates([gate], INPUTS), Found(evidence=found))


@pytest.mark.parametrize(("value", "holds"), [(2.5, True), (2.51, True), (2.49, False)])
def test_a_floor_lets_through_what_reaches_it(value: float, holds: bool) -> None:
    assert _judge(LENGTH, _length(value)).gates[0].holds is holds


def test_a_ceiling_lets_through_what_stays_below() -> None:
    gate: Json = {"name": "slow", "figure": "smoke-nvfp4.ttft", "at_most": 500}
    assert _judge(gate, _length(400, name="ttft")).gates[0].holds
    assert not _judge(gate, _length(501, name="ttft")).gates[0].holds


def test_a_head_with_wrong_norms_fails_against_the_master_and_a_clean_one_passes() -> None:
    assert not _judge(SHARE, _length(2.41), _length(2.65)).gates[0].holds
    assert _judge(SHARE, _length(2.65), _length(2.66)).gates[0].holds


@pytest.mark.parametrize(
    ("gate", "nvfp4", "master", "words"),
    [
        (LENGTH, Evidence(), None, "smoke-nvfp4.acceptance_length was not measured"),
        (LENGTH, _length(2.6, n=0), None, "smoke-nvfp4.acceptance_length was not measured"),
        (LENGTH, _length(float("nan")), None, "smoke-nvfp4.acceptance_length was not measured"),
        (SHARE, _length(2.6), None, "smoke-master.acceptance_length, the baseline, was not measured"),
        (SHARE, _length(2.6), _length(0), "no baseline"),
    ],
)
def test_a_missing_figure_fails(gate: Json, nvfp4: Evidence, master: Evidence | None, words: str) -> None:
    found = _judge(gate, nvfp4, master)
    assert not found.gates[0].holds
    with pytest.raises(GateError, match=words):
        verdicts.require(verdicts.parse(verdicts.dump(found)))


def test_a_dotted_measurement_name_is_found() -> None:
    gate: Json = {"name": "code", "figure": "smoke-nvfp4.acceptance_length.code", "at_least": 2, "k": 2}
    assert _judge(gate, _length(2.2, name="acceptance_length.code")).gates[0].holds


def test_every_failed_gate_is_named_with_figure_and_threshold() -> None:
    with pytest.raises(GateError) as caught:
        verdicts.require(_judge(LENGTH, _length(2.41)))
    assert "length: smoke-nvfp4.acceptance_length is 2.41 tokens/draft (n=48), wanted at least 2.5" in str(
        caught.value
    )
    assert caught.value.code == 7


def test_a_failed_proof_is_named_with_what_was_found() -> None:
    bad = Proof(name="mtp-verbatim-nvfp4", holds=False, compared="bytes", found="mtp.fc.weight differs")
    with pytest.raises(ProofError, match=r"mtp-verbatim-nvfp4: mtp\.fc\.weight differs"):
        verdicts.require_proofs(Evidence(proofs=(bad,)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"figure": "smoke-nvfp5.acceptance_length"}, "one of prove, smoke-master, smoke-nvfp4"),
        ({"figure": "smoke-nvfp4"}, "<evidence>.<measurement>"),
        ({"at_most": 3}, "either at_least or at_most, got 2"),
        ({"at_least": "2.5"}, "expected float, got str"),
        ({"at_least": float("nan")}, "a finite number"),
        ({"atleast": 2}, "no such key here"),
        ({"tolerance": 1.0}, "a share of the threshold, from 0 to below 1"),
        ({"margin": 0.05}, "at_least of one acceptance_length relative to another"),
    ],
)
def test_a_gate_written_wrongly_says_what_is_wrong(change: dict[str, Json], words: str) -> None:
    assert isinstance(LENGTH, dict)
    with pytest.raises(ConfigError, match=words):
        parse_gates([{**LENGTH, **change}], INPUTS)


def test_a_floor_of_acceptance_says_whose_k_it_is() -> None:
    with pytest.raises(ConfigError, match="k: expected the draft tokens of the profile"):
        parse_gates([{"name": "x", "figure": "smoke-nvfp4.acceptance_length", "at_least": 2.5}], INPUTS)


@pytest.mark.parametrize(
    ("nvfp4", "words"),
    [
        (_length(2.6, k=3), "belongs to 2 draft tokens, and smoke-nvfp4 served with 3"),
        (_length(2.6, n=12), "was measured 12 times, and 36 are asked for"),
        (_length(3.4), "an acceptance length of 3.4 cannot be with 2 draft tokens"),
    ],
)
def test_a_figure_of_something_else_is_no_measurement(nvfp4: Evidence, words: str) -> None:
    assert isinstance(LENGTH, dict)
    verdict = _judge({**LENGTH, "n": 36}, nvfp4).gates[0]
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert words in verdict.sentence


def test_a_baseline_of_another_k_is_none() -> None:
    verdict = _judge(SHARE, _length(2.6), _length(2.6, k=3)).gates[0]
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert "its baseline with 3" in verdict.sentence


@pytest.mark.parametrize(("value", "holds"), [(14.9, True), (14.4, False)])
def test_a_tolerance_is_a_share_of_the_threshold(value: float, holds: bool) -> None:
    gate: Json = {"name": "c1", "figure": "smoke-nvfp4.speed", "at_least": 15.2, "tolerance": 0.05}
    assert _judge(gate, _length(value, name="speed")).gates[0].holds is holds


def _replies(accepted: list[int]) -> dict[str, Drafts]:
    return {f"prompt-{at}": Drafts(drafts=20, accepted=kept) for at, kept in enumerate(accepted)}


@pytest.mark.parametrize(
    ("ours", "outcome", "words"),
    [
        ([33, 34, 33, 32] * 12, Outcome.PASS, "over 48 prompts, wanted"),
        ([24, 25, 24, 23] * 12, Outcome.FAIL, "over 48 prompts, wanted"),
        ([38, 10, 40, 20] * 12, Outcome.FAIL, "inconclusive: wider than 0.05"),
        ([33] * 47, Outcome.NOT_MEASURED, "48 prompts that do not pair: prompt-47"),
    ],
    ids=["equal", "worse", "noisy", "unpaired"],
)
def test_a_share_is_held_by_its_lower_bound(ours: list[int], outcome: Outcome, words: str) -> None:
    assert isinstance(SHARE, dict)
    evidence = {"prove": Evidence(), "smoke-nvfp4": _length(2.65), "smoke-master": _length(2.66)}
    drafts = {"smoke-nvfp4": _replies(ours), "smoke-master": _replies([33, 33, 34, 32] * 12)}
    gates = parse_gates([{**SHARE, "margin": 0.05}], INPUTS)
    verdict = judge_all(gates, Found(evidence=evidence, drafts=drafts)).gates[0]
    assert verdict.outcome is outcome
    assert words in verdict.sentence
    assert verdicts.parse(verdicts.dump(Verdicts(gates=(verdict,), proofs=()))).gates == (verdict,)


def test_two_gates_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="one gate called length, got 2"):
        parse_gates([LENGTH, LENGTH], INPUTS)


@given(value=st.floats(0.01, 1e6), baseline=st.floats(0.01, 1e6), threshold=st.floats(-10, 10))
def test_verdicts_survive_their_file(value: float, baseline: float, threshold: float) -> None:
    assert isinstance(SHARE, dict)
    figures: dict[str, Json] = {"figure": "smoke-nvfp4.speed", "relative_to": "smoke-master.speed"}
    ours, theirs = _length(value, name="speed"), _length(baseline, name="speed")
    found = _judge({**SHARE, **figures, "at_least": threshold}, ours, theirs)
    assert verdicts.parse(verdicts.dump(found)) == found
    assert found.gates[0].holds == (value / baseline >= threshold)


def test_the_step_writes_gates_and_proofs(tmp_path: Path) -> None:
    proofs = (Proof(name="repack", holds=True, compared="bytes", found="0 differ"),)
    for name, found in (("prove", Evidence(proofs=proofs)), ("smoke-nvfp4", _length(2.6))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evidence.json").write_text(evidence.dump(found))
    inputs = {name: Input(tmp_path / name, Tree({})) for name in ("prove", "smoke-nvfp4")}
    written = verdicts.parse(GATE.function(inputs, {"gates": [LENGTH]}).new["verdicts.json"].decode())
    assert [(gate.name, gate.holds) for gate in written.gates] == [("length", True)]
    assert [(proof.name, proof.found) for proof in written.proofs] == [("repack", "0 differ")]


PAIRED: dict[str, Json] = {
    "name": "math",
    "figure": "sanity-nvfp4.math",
    "paired_with": "sanity-master.math",
    "at_least": -0.1,
}
ASKED = ("prove", "sanity-master", "sanity-nvfp4")


def _judge_answers(gate: Json, ours: list[bool], theirs: list[bool]) -> Verdict:
    answers = {
        name: {"math": {f"q{at}": right for at, right in enumerate(given)}}
        for name, given in (("sanity-nvfp4", ours), ("sanity-master", theirs))
    }
    evidence = {
        name: Evidence(
            measurements=(
                Measurement(
                    name="math", value=sum(given) / len(given), unit="fraction", n=len(given), how="asked"
                ),
            )
        )
        for name, given in (("sanity-nvfp4", ours), ("sanity-master", theirs))
    }
    found = Found(evidence={"prove": Evidence(), **evidence}, answers=answers)
    return judge_all(parse_gates([gate], ASKED), found).gates[0]


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome", "words"),
    [
        ([True] * 60, [True] * 60, Outcome.PASS, "0 of 60 lost, 0 gained"),
        ([True] * 55 + [False] * 5, [True] * 60, Outcome.FAIL, "5 of 60 lost"),
        ([True] * 60, [True] * 50 + [False] * 10, Outcome.FAIL, "anomalous"),
        ([True] * 20, [True] * 20, Outcome.NOT_MEASURED, "20 questions cannot show it"),
        ([True] * 60, [True] * 59, Outcome.NOT_MEASURED, "do not pair: q59"),
    ],
)
def test_answers_to_the_same_questions_are_held_by_the_bound_of_their_difference(
    ours: list[bool], theirs: list[bool], outcome: Outcome, words: str
) -> None:
    verdict = _judge_answers(PAIRED, ours, theirs)
    assert verdict.outcome is outcome
    assert words in verdict.sentence


@pytest.mark.parametrize(
    "change", [{"at_least": 0.9}, {"at_least": None, "at_most": 0.1}, {"relative_to": "sanity-master.math"}]
)
def test_a_paired_gate_that_means_nothing_is_refused(change: dict[str, Json]) -> None:
    row: Json = {key: value for key, value in {**PAIRED, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match="paired_with"):
        parse_gates([row], ASKED)
