"""A claim holds, fails or was not checked; nothing holds of nothing, and no check ends the others."""

import pytest

from recipes.formats.proofs.claim import SHOWN, Claim, Finding, NotGiven, Status, count, find, given, prove


def judged(check: object) -> tuple[Status, str]:
    outcome = prove(Claim("name", "this: that", check))  # type: ignore[arg-type]
    return outcome.status, outcome.found


def test_a_finding_without_flaws_holds_and_says_what_was_counted() -> None:
    assert judged(lambda: find((), "3 tensors")) == (Status.HOLDS, "3 tensors")


def test_flaws_are_named_and_the_rest_counted() -> None:
    flaws = [f"t{number}: differs" for number in range(SHOWN + 2)]
    status, found = judged(lambda: find(flaws, "7 tensors"))
    assert status is Status.FAILS
    assert found == "; ".join(flaws[:SHOWN]) + "; and 2 more"


@pytest.mark.parametrize("error", [ValueError("no such tensor"), OSError("gone"), KeyError("x")])
def test_a_check_that_cannot_be_carried_out_does_not_hold(error: Exception) -> None:
    def check() -> Finding:
        raise error

    status, found = judged(check)
    assert status is Status.FAILS and found.startswith("could not be evaluated")


def test_what_was_not_given_is_not_checked() -> None:
    assert judged(NotGiven("no --master")) == (Status.NOT_CHECKED, "no --master")
    assert given(NotGiven("no --master"), lambda _: find((), "")) == NotGiven("no --master")


def test_nothing_is_proved_of_nothing() -> None:
    with pytest.raises(ValueError, match="no tensor to look at"):
        count([], "tensor")
