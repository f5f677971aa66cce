"""Answers of two models to the same questions, compared. Pure.

    found = compare(quantized, master)      # {"q-0": True, ...}, {"q-0": False, ...}
    found.difference, found.p, found.bounds, found.resolution

Only questions that one model gets right and the other wrong say anything about a difference:
``lost`` and ``gained``. Their split is tested exactly (McNemar 1947, with the binomial). The
bounds are those of Tango's score interval for a difference of paired shares (Statistics in
Medicine 17, 1998), which also holds where nothing differs: there, a bound is z²/(n + z²) away.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.sanity import ANSWERS_FILE, parse_answers

LEVEL = 0.05
Z = 1.6448536269514722
"""The normal quantile of a one-sided 95 % bound."""

Answers = Mapping[str, bool]
STEPS = 60
"""Bisections: a bound is exact to 2^-60 of the range."""


MOST_GAINED = 0.05
"""A quantized model that gains more than this on a task is a bug (ModelOpt's gates say so too)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Whether a comparison is good enough, and what was found, in words."""

    holds: bool
    words: str
    anomalous: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Counts of one task: of ``n`` questions, ``lost`` were right for theirs alone, ``gained`` for ours."""

    n: int
    ours: int
    theirs: int
    lost: int
    gained: int

    @property
    def difference(self) -> float:
        """Our share of right answers less theirs."""
        return (self.gained - self.lost) / self.n

    @property
    def p(self) -> float:
        """Two-sided p of McNemar's exact test; 1 where no answer differs."""
        return mcnemar(self.lost, self.gained)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lower and the upper one-sided 95 % bound of the difference."""
        low = _bound(self.lost, self.gained, self.n)
        return low, -_bound(self.gained, self.lost, self.n)

    @property
    def resolution(self) -> float:
        """The smallest difference that so many questions could show, given what differed both ways.

        1 or more: none.
        """
        noise = min(self.lost, self.gained)
        most = next(more for more in range(1, 10_000) if mcnemar(noise, noise + more) <= LEVEL)
        return most / self.n


def judge(found: Paired, at_least: float, most_gained: float = MOST_GAINED) -> Judged:
    """Hold the lower bound of the difference, and refuse a gain that is too good.

    A gain is anomalous when it is above ``most_gained`` and McNemar's test shows it: a few
    questions gained out of few are chance, and a set too small to show a gain blames none.
    Raises ValueError when so few questions could not show it, were all answers alike.
    """
    if -narrowest(found.n) < at_least:
        raise ValueError(
            f"{found.n} questions cannot show it: were all answers alike, the lower bound of the "
            f"difference would be {-narrowest(found.n):.3f}"
        )
    low, high = found.bounds
    anomalous = found.difference > most_gained and found.p <= LEVEL
    words = (
        f"a difference of {found.difference:+.3f}, between {low:+.3f} and {high:+.3f}: {found.lost} of "
        f"{found.n} lost, {found.gained} gained (McNemar's exact p {found.p:.2g}); {found.n} questions "
        f"show {found.resolution:.3f} and more"
    )
    if anomalous:
        words += f"; anomalous: no quantized model gains more than {most_gained:g}, look for the bug"
    return Judged(holds=low >= at_least and not anomalous, words=words, anomalous=anomalous)


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided p of ``lost`` against ``gained`` under an even split."""
    count = lost + gained
    tail = sum(math.comb(count, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / (1 << count))


def narrowest(n: int) -> float:
    """Return how far below zero the lower bound is where ``n`` answers are all alike."""
    return Z**2 / (n + Z**2)


def compare(ours: Answers, theirs: Answers) -> Paired:
    """Pair the answers by question. Raises ValueError when both were not asked the same ones."""
    if ours.keys() != theirs.keys() or not ours:
        apart = ", ".join(sorted(ours.keys() ^ theirs.keys())[:3]) or "none at all"
        raise ValueError(f"{len(ours)} and {len(theirs)} answers that do not pair: {apart}")
    return Paired(
        n=len(ours),
        ours=sum(ours.values()),
        theirs=sum(theirs.values()),
        lost=sum(theirs[name] and not ours[name] for name in ours),
        gained=sum(ours[name] and not theirs[name] for name in ours),
    )


def compare_all(ours: Mapping[str, Answers], theirs: Mapping[str, Answers]) -> Mapping[str, Paired]:
    """Compare every task, in the order of ours. Raises ValueError when the tasks differ."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"tasks that do not pair: {', '.join(sorted(ours.keys() ^ theirs.keys()))}")
    return {task: compare(ours[task], theirs[task]) for task in ours}


def read_answers(folder: Path) -> Mapping[str, Answers]:
    """Read a step's answers by task. Raises ValueError with file and line, or OSError."""
    return parse_answers((folder / ANSWERS_FILE).read_text())


def _bound(lost: int, gained: int, n: int) -> float:
    """Return the lower bound of (gained - lost) / n: where the score statistic reaches z."""
    low, high = -1.0, (gained - lost) / n
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(lost, gained, n, middle) > Z else (low, middle)
    return high


def _score(lost: int, gained: int, n: int, delta: float) -> float:
    """Return Tango's score statistic for a true difference ``delta`` below the one that was found."""
    # The share of questions that only theirs gets right, at its likeliest under delta.
    b = -gained - lost + (2 * n - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    share = (math.sqrt(max(b * b - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * (2 * share + delta * (1 - delta))
    return (gained - lost - n * delta) / math.sqrt(variance) if variance > 0 else math.inf
