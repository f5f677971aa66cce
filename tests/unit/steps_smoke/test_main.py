"""What a smoke concludes from a drive, without an engine."""

import pytest

from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import main, metrics, profile
from recipes.steps.smoke.drive import Drafts, Drive, Reply
from recipes.steps.smoke.main import Measured
from tests.unit.steps_smoke.test_metrics import exposition
from tests.unit.steps_smoke.test_profile import params

REPLY = Reply(
    id="code-0",
    domain="code",
    text="so",
    reasoning="",
    finish_reason="stop",
    prompt_tokens=5,
    completion_tokens=241,
    drafts=Drafts(drafts=100, draft_tokens=200, accepted=140),
)


def measured(before: str, after: str) -> Measured:
    drive = Drive(replies=(REPLY,), wall_s=1.0)
    return Measured(drive=drive, before=metrics.parse(before), after=metrics.parse(after))


def test_acceptance_of_the_battery_and_of_each_domain() -> None:
    answered = measured(exposition(10, 20, 9, 8), exposition(110, 220, 89, 68))
    wanted = profile.parse(params())
    found = {figure.name: figure.value for figure in main._acceptance(answered, wanted)}
    assert found == {
        "acceptance_rate": 0.7,
        "acceptance_length": 2.4,
        "acceptance_pos_0": 0.8,
        "acceptance_pos_1": 0.6,
        "acceptance_length.code": 2.4,
    }
    assert main._counted(answered, wanted)["token_count_discrepancy"] == 0.0


def test_a_draft_head_that_leaves_no_counters_is_a_failed_proof() -> None:
    nothing = measured("vllm:generation_tokens_total 1", "vllm:generation_tokens_total 242")
    with pytest.raises(StepError, match="no vllm:spec_decode_") as caught:
        main._acceptance(nothing, profile.parse(params()))
    assert caught.value.code is Exit.PROOF


def test_without_a_draft_head_there_is_no_acceptance_and_no_error() -> None:
    plain = params()
    plain["serve"]["speculative_tokens"] = 0
    wanted = profile.parse(plain)
    assert main._acceptance(measured("", ""), wanted) == []
    assert main._counted(measured("", ""), wanted) == {}


def test_replies_are_one_json_object_a_line() -> None:
    lines = main._replies(Drive(replies=(REPLY, REPLY), wall_s=1.0)).splitlines()
    assert len(lines) == 2
    assert '"drafts": {"accepted": 140, "draft_tokens": 200, "drafts": 100}' in lines[0]
