"""The arithmetic behind every number that a card quotes from a smoke."""

import pytest

from recipes.formats.evidence import Measurement
from recipes.formats.step import StepError
from recipes.steps.smoke import figures
from recipes.steps.smoke.drive import Drafts, Drive, Reply
from recipes.steps.smoke.metrics import Drafting


def reply(
    domain: str = "code", tokens: int = 9, drafts: Drafts | None = None, finish_reason: str = "stop"
) -> Reply:
    return Reply(
        id=f"{domain}-0",
        domain=domain,
        text="so",
        reasoning="",
        finish_reason=finish_reason,
        prompt_tokens=5,
        completion_tokens=tokens,
        drafts=drafts,
    )


def by_name(found: list[Measurement]) -> dict[str, float]:
    return {measurement.name: measurement.value for measurement in found}


def test_length_counts_the_bonus_token_and_rate_does_not() -> None:
    drafting = Drafting(drafts=100, draft_tokens=200, accepted=160, accepted_at=(88, 72))
    found = by_name(figures.acceptance(drafting, [reply()]))
    assert found["acceptance_rate"] == pytest.approx(0.8)
    assert found["acceptance_length"] == pytest.approx(2.6)
    assert found["acceptance_pos_0"] == pytest.approx(0.88)
    assert found["acceptance_pos_1"] == pytest.approx(0.72)


def test_samples_are_replies_not_drafts() -> None:
    drafting = Drafting(drafts=100, draft_tokens=200, accepted=160, accepted_at=(88, 72))
    assert {m.n for m in figures.acceptance(drafting, [reply(), reply()])} == {2}


def test_no_draft_is_an_error_not_a_zero() -> None:
    nothing = Drafting(drafts=0, draft_tokens=0, accepted=0, accepted_at=())
    with pytest.raises(StepError, match="proposed nothing"):
        figures.acceptance(nothing, [reply()])


def test_each_domain_has_its_own_length() -> None:
    found = figures.acceptance_by_domain(
        [
            reply("code", drafts=Drafts(drafts=10, draft_tokens=20, accepted=15)),
            reply("prose", drafts=Drafts(drafts=10, draft_tokens=20, accepted=5)),
            reply("code", drafts=Drafts(drafts=10, draft_tokens=20, accepted=17)),
        ]
    )
    assert by_name(found) == {"acceptance_length.code": 2.6, "acceptance_length.prose": 1.5}
    assert found[0].n == 2


def test_a_reply_without_its_drafts_is_named() -> None:
    with pytest.raises(StepError, match="reply code-0 does not report its drafts"):
        figures.reported([reply()])


def test_counters_and_replies_must_tell_the_same() -> None:
    drafting = Drafting(drafts=3, draft_tokens=6, accepted=5, accepted_at=(3, 2))
    figures.agreement(drafting, [reply(drafts=Drafts(drafts=3, draft_tokens=6, accepted=5))])
    with pytest.raises(StepError, match="something else is using the server"):
        figures.agreement(drafting, [reply(drafts=Drafts(drafts=2, draft_tokens=4, accepted=3))])


def test_tokens_are_one_per_reply_plus_drafts_plus_accepted() -> None:
    drafting = Drafting(drafts=40, draft_tokens=80, accepted=58, accepted_at=(30, 28))
    drive = Drive(replies=(reply(tokens=50), reply(tokens=50)), wall_s=1.0)
    assert figures.discrepancy(drafting, drive, 2) == pytest.approx(0.0)


def test_drafts_beyond_the_end_of_a_reply_are_allowed_for() -> None:
    drafting = Drafting(drafts=5, draft_tokens=10, accepted=10, accepted_at=(5, 5))
    drive = Drive(replies=(reply(tokens=14),), wall_s=1.0)
    assert figures.discrepancy(drafting, drive, 2) == pytest.approx(2 / 14)


@pytest.mark.parametrize("tokens", [80, 130])
def test_tokens_that_the_counters_do_not_explain_void_the_figure(tokens: int) -> None:
    drafting = Drafting(drafts=40, draft_tokens=80, accepted=59, accepted_at=(30, 29))
    drive = Drive(replies=(reply(tokens=tokens),), wall_s=1.0)
    with pytest.raises(StepError, match=f"hold {tokens} tokens, the counters .* account for 100"):
        figures.discrepancy(drafting, drive, 2)


def test_stop_rate_is_the_share_that_the_model_ended() -> None:
    replies = [reply(), reply(), reply(), reply(finish_reason="length")]
    assert figures.stop_rate(replies).value == pytest.approx(0.75)
