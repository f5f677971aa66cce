"""One claim: a name, what is compared, and a check that says what it found.

    def mtp_bf16(trees: Sequence[Tree]) -> Finding: ...
    outcome = prove(Claim("mtp-bf16", "dtype of every mtp.* tensor", partial(mtp_bf16, trees)))

A check that cannot be carried out does not hold; it never ends the others, which are still
worth knowing. A claim whose counterpart was not given is not checked, which is no pass.
"""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

SHOWN = 5


class Status(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: flaws, each naming a tensor or file, or what it counted."""

    flaws: tuple[str, ...]
    counted: str


@dataclass(frozen=True, slots=True)
class NotGiven:
    """A counterpart that nobody gave; ``why`` says so to a reader, such as ``no --against``."""

    why: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim to prove. ``compared`` says which bytes are held against which."""

    name: str
    compared: str
    check: Callable[[], Finding] | NotGiven


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A claim, judged. ``found`` is what was counted, or the first flaws."""

    name: str
    compared: str
    status: Status
    found: str


def prove(claim: Claim) -> Outcome:
    """Carry out ``claim``'s check. A check that fails on its way does not hold."""
    if isinstance(claim.check, NotGiven):
        status, found = Status.NOT_CHECKED, claim.check.why
    else:
        finding = _carry_out(claim.check)
        status = Status.FAILS if finding.flaws else Status.HOLDS
        found = _words(finding)
    return Outcome(name=claim.name, compared=claim.compared, status=status, found=found)


def given(counterpart: T | NotGiven, check: Callable[[T], Finding]) -> Callable[[], Finding] | NotGiven:
    """Return ``check`` of ``counterpart``, or what says that it was not given."""
    if isinstance(counterpart, NotGiven):
        return counterpart
    return lambda: check(counterpart)


def find(flaws: Iterable[str], counted: str) -> Finding:
    """Return a finding from a check's flaws; it holds when there are none."""
    return Finding(tuple(flaws), counted)


def count(items: Sized, noun: str) -> int:
    """Return how many ``items`` there are. Raises ValueError for none: nothing is proved of nothing."""
    if not items:
        raise ValueError(f"no {noun} to look at")
    return len(items)


def _carry_out(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (ValueError, OSError, KeyError) as error:
        return Finding((f"could not be evaluated: {error}",), "")


def _words(finding: Finding) -> str:
    if not finding.flaws:
        return finding.counted
    rest = len(finding.flaws) - SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(finding.flaws[:SHOWN]) + more
