"""The interval of a ratio of acceptance lengths, or of a mean, resampled over prompts. Pure.

    interval = ratio_interval(quantized, master)      # Interval(low=0.981, high=1.012)
    interval = mean_interval([(1.9, 211), (0.7, 90)]) # sum / count of each text

Drafts inside one reply depend on each other, so a reply is the smallest thing that is drawn,
and both trees' replies to a prompt are drawn together (a paired cluster bootstrap; Efron and
Tibshirani 1993, chapter 8). The seed is fixed: the same replies give the same interval.
"""

import json
import random
from collections.abc import Mapping, Sequence
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
    """The lower and the upper one-sided 95 % bound of a ratio or a mean. ``prompts`` may be texts."""

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


def mean_interval(pairs: Sequence[tuple[float, int]], resamples: int = RESAMPLES) -> Interval:
    """Return the interval of sum / count over texts, each given as (sum, count) and drawn whole.

    Raises ValueError for fewer than two texts, and for one without a count.
    """
    if len(pairs) < 2 or not all(count > 0 for _, count in pairs):
        raise ValueError(f"{len(pairs)} texts, and an interval needs two that hold something")
    draw, number = random.Random(SEED), len(pairs)  # noqa: S311 - a statistic, and it must repeat
    means = sorted(
        _mean([pairs[int(draw.random() * number)] for _ in range(number)]) for _ in range(resamples)
    )
    cut = int(TAIL * resamples)
    return Interval(low=means[cut], high=means[-1 - cut], prompts=number)


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


def _mean(drawn: list[tuple[float, int]]) -> float:
    return sum(total for total, _ in drawn) / sum(count for _, count in drawn)


def _ratio(drawn: list[tuple[int, int, int, int]]) -> float:
    ours, kept, theirs, kept_there = map(sum, zip(*drawn, strict=True))
    # A draw of nothing but replies without drafts says nothing; one token a step is its length.
    return (1 + kept / max(ours, 1)) / (1 + kept_there / max(theirs, 1))
