"""What ``invoke gate`` says of a verdict."""

from release.gating import explanation
from release.verdicts import Direction, Outcome, Verdict, Verdicts


def verdict(name: str, outcome: Outcome, interval: tuple[float, float] | None = None) -> Verdict:
    return Verdict(
        name=name,
        outcome=outcome,
        value=2.6,
        baseline=2.7,
        threshold=0.95,
        direction=Direction.AT_LEAST,
        unit="tokens/draft",
        n=54,
        sentence="0.963 of the master's",
        interval=interval,
        how="1 + accepted / drafts",
    )


def test_each_verdict_says_what_was_measured_and_how_and_the_failed_come_last() -> None:
    gates = (
        verdict("b", Outcome.FAIL, (0.93, 0.99)),
        verdict("c", Outcome.NOT_MEASURED),
        verdict("a", Outcome.PASS),
    )
    told = list(explanation(Verdicts(gates=gates, proofs=())))
    assert [line for line in told if not line.startswith(" ")] == [
        "✓ a: pass",
        "✗ b: fail",
        "? c: not measured",
        "1 of 3 gates are passed",
    ]
    assert "    measured: 1 + accepted / drafts" in told
    assert "    the truth may lie on either side: more prompts narrow the interval" in told
