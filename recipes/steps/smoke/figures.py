"""Counters and replies in, measurements out. Pure.

Acceptance rate is accepted / draft tokens. Acceptance length is the mean number of
tokens that one verify step yields: 1 + accepted / drafts, the 1 being the target
model's own token. ``n`` counts replies, not drafts: the drafts of one reply are not
independent of each other.
"""

from collections.abc import Iterable, Sequence

from recipes.formats.evidence import Measurement
from recipes.formats.step import Exit, StepError
from recipes.steps.smoke.drive import Drafts, Drive, Reply
from recipes.steps.smoke.metrics import Drafting

TOLERANCE = 0.05


def acceptance(drafting: Drafting, replies: Sequence[Reply]) -> list[Measurement]:
    """Return rate, length and per-position acceptance of the whole battery.

    Raises StepError when nothing was drafted.
    """
    if drafting.drafts == 0 or drafting.draft_tokens == 0:
        raise StepError(
            "the draft head proposed nothing, so there is no acceptance to measure; some engines turn "
            "drafting off for a sampling field that they do not support",
            Exit.PROOF,
        )
    basis = f"{drafting.drafts} drafts in {len(replies)} replies, difference of the server's counters"
    rate = drafting.accepted / drafting.draft_tokens
    return [
        _fraction("acceptance_rate", rate, len(replies), f"accepted / draft tokens over {basis}"),
        _length("acceptance_length", drafting.drafts, drafting.accepted, len(replies), basis),
        *_positions(drafting, len(replies), basis),
    ]


def acceptance_by_domain(replies: Sequence[Reply]) -> list[Measurement]:
    """Return the acceptance length of each domain, from what each reply reports."""
    result = []
    for domain in sorted({reply.domain for reply in replies}):
        of_domain = [reply for reply in replies if reply.domain == domain]
        total = reported(of_domain)
        if total.drafts:
            basis = f"{total.drafts} drafts in {len(of_domain)} replies, as each reply reports them"
            name = f"acceptance_length.{domain}"
            result.append(_length(name, total.drafts, total.accepted, len(of_domain), basis))
    return result


def reported(replies: Iterable[Reply]) -> Drafts:
    """Return the sum of what the replies report. Raises StepError when one does not."""
    drafts = [_of(reply) for reply in replies]
    return Drafts(
        drafts=sum(each.drafts for each in drafts),
        draft_tokens=sum(each.draft_tokens for each in drafts),
        accepted=sum(each.accepted for each in drafts),
    )


def discrepancy(drafting: Drafting, drive: Drive, speculative_tokens: int) -> float:
    """Compare tokens by the counters with tokens by ``usage``; return their difference as a share.

    Each reply has one token from its prompt and 1 + accepted from each draft. The last
    draft of a reply may reach beyond its end by up to ``speculative_tokens``. Raises
    StepError when the rest differs by more than 5 %: then not every step drafted, or
    the counters saw requests that are not ours.
    """
    counted = len(drive.replies) + drafting.drafts + drafting.accepted
    over = counted - drive.tokens
    slack = TOLERANCE * drive.tokens
    if not -slack <= over <= slack + speculative_tokens * len(drive.replies):
        raise StepError(
            f"the replies hold {drive.tokens} tokens, the counters of the draft head account for {counted}. "
            "More than 5 % apart, one of them does not describe this drive, so no acceptance is stated",
            Exit.PROOF,
        )
    return over / drive.tokens


def agreement(drafting: Drafting, replies: Sequence[Reply]) -> None:
    """Raise StepError unless the counters and the replies tell of the same drafts."""
    told = reported(replies)
    counted = Drafts(drafts=drafting.drafts, draft_tokens=drafting.draft_tokens, accepted=drafting.accepted)
    if told != counted:
        raise StepError(
            f"the server counted {counted}, its replies report {told}; something else is using the server",
            Exit.PROOF,
        )


def stop_rate(replies: Sequence[Reply]) -> Measurement:
    """Return the share of replies that the model ended by itself."""
    stopped = sum(reply.finish_reason == "stop" for reply in replies)
    how = "replies with finish_reason stop / replies; the others reached max_tokens"
    return _fraction("stop_rate", stopped / len(replies), len(replies), how)


def ready(seconds: float) -> Measurement:
    """Return the time from the server's start to its first answer."""
    how = "from the start of the process to the first 200 on /health"
    return Measurement(name="server_ready_s", value=seconds, unit="s", n=1, how=how)


def _of(reply: Reply) -> Drafts:
    if reply.drafts is None:
        raise StepError(
            f"reply {reply.id} does not report its drafts although a draft head was asked for. vLLM does so "
            "since 0.32 with --per-request-spec-decode-metrics",
            Exit.PROOF,
        )
    return reply.drafts


def _positions(drafting: Drafting, n: int, basis: str) -> list[Measurement]:
    return [
        _fraction(
            f"acceptance_pos_{at}", accepted / drafting.drafts, n, f"accepted at {at} / drafts over {basis}"
        )
        for at, accepted in enumerate(drafting.accepted_at)
    ]


def _length(name: str, drafts: int, accepted: int, n: int, basis: str) -> Measurement:
    how = f"1 + accepted / drafts over {basis}"
    return Measurement(name=name, value=1 + accepted / drafts, unit="tokens/draft", n=n, how=how)


def _fraction(name: str, value: float, n: int, how: str) -> Measurement:
    return Measurement(name=name, value=value, unit="fraction", n=n, how=how)
