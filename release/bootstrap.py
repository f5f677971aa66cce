"""The interval of a ratio of acceptance lengths, resampled over prompts. Pure.

    interval = ratio_interval(quantized, master)      # Interval(low=0.981, high=1.012)

Drafts inside one reply depend on each other, so a reply is the smallest thing that is drawn,
and both trees' replies to a prompt are drawn together (a paired cluster bootstrap; Efron and
Tibshirani 1993, chapter 8). The seed is fixed: the same replies give the same interval.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPLIES_FILE = "replies.jsonl"
RESAMPLES = 10_000
TAIL = 0.05
SEED = 20261123


@dataclass(frozen=True, slots=True)
class Drafts:
    """What one reply took: verify steps, and draft tokens that were kept."""

    drafts: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The lower and the upper one-sided 95 % bound of a ratio."""

    low: float
    high: float
    prompts: int

    @property
    def width(self) -> float:
        """How far the bounds are apart."""
        return self.high - self.low


def ratio_interval(
    ours: Mapping[str, Drafts], theirs: Mapping[str, Drafts], resamples: int = RESAMPLES
) -> Interval:
    """Return the interval of (1 + accepted / drafts) of ``ours`` over that of ``theirs``.

    Raises ValueError when both do not hold the same prompts, or fewer than two, and when one
    drafted nothing.
    """
    if ours.keys() != theirs.keys() or len(ours) < 2:
        apart = ", ".join(sorted(ours.keys() ^ theirs.keys())[:3]) or "too few"
        raise ValueError(f"{len(ours)} and {len(theirs)} prompts that do not pair: {apart}")
    pairs = [
        (ours[name].drafts, ours[name].accepted, theirs[name].drafts, theirs[name].accepted)
        for name in sorted(ours)
    ]
    for column, whose in ((0, "ours"), (2, "the baseline's")):
        if not sum(pair[column] for pair in pairs):
            raise ValueError(f"{whose} drafted nothing")
    draw, count = random.Random(SEED), len(pairs)  # noqa: S311 - a statistic, and it must repeat
    ratios = sorted(
        _ratio([pairs[int(draw.random() * count)] for _ in range(count)]) for _ in range(resamples)
    )
    cut = int(TAIL * resamples)
    return Interval(low=ratios[cut], high=ratios[-1 - cut], prompts=count)


def read_drafts(folder: Path) -> dict[str, Drafts]:
    """Read what each reply of a smoke took, by prompt. Raises ValueError with file and line."""
    found: dict[str, Drafts] = {}
    for number, line in enumerate((folder / REPLIES_FILE).read_text().splitlines(), 1):
        match json.loads(line):
            case {"id": str(name), "drafts": {"drafts": int(drafts), "accepted": int(accepted)}}:
                found[name] = Drafts(drafts, accepted)
            case _:
                raise ValueError(f"{REPLIES_FILE}:{number}: expected a reply that tells its drafts")
    return found


def _ratio(drawn: list[tuple[int, int, int, int]]) -> float:
    ours, kept, theirs, kept_there = map(sum, zip(*drawn, strict=True))
    # A draw of nothing but replies without drafts says nothing; one token a step is its length.
    return (1 + kept / max(ours, 1)) / (1 + kept_there / max(theirs, 1))
