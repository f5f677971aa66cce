"""One claim: a name, what is compared, and a check that says what it found.

    def mtp_bf16(trees: Trees) -> Finding: ...
    proof = prove(Claim("mtp-bf16", "dtype of every mtp.* tensor", lambda: mtp_bf16(trees)))

A check that cannot be carried out does not hold; it never ends the step, since the other
claims are still worth knowing.
"""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass

from recipes.formats.evidence import Proof

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: flaws, each naming a tensor or file, or what it counted."""

    flaws: tuple[str, ...]
    counted: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim to prove. ``compared`` says which bytes are held against which."""

    name: str
    compared: str
    check: Callable[[], Finding]


def prove(claim: Claim) -> Proof:
    """Carry out ``claim``'s check. A check that fails on its way does not hold."""
    try:
        finding = claim.check()
    except (ValueError, OSError, KeyError) as error:
        finding = Finding((f"could not be evaluated: {error}",), "")
    return Proof(name=claim.name, holds=not finding.flaws, compared=claim.compared, found=_words(finding))


def find(flaws: Iterable[str], counted: str) -> Finding:
    """Return a finding from a check's flaws; it holds when there are none."""
    return Finding(tuple(flaws), counted)


def count(items: Sized, noun: str) -> int:
    """Return how many ``items`` there are. Raises ValueError for none: nothing is proved of nothing."""
    if not items:
        raise ValueError(f"no {noun} to look at")
    return len(items)


def _words(finding: Finding) -> str:
    if not finding.flaws:
        return finding.counted
    rest = len(finding.flaws) - SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(finding.flaws[:SHOWN]) + more
