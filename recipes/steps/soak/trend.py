"""The trend of a series, with an interval: what slope the data are compatible with. Pure.

    trend(seconds, resident)     # Trend(slope=1.2, low=0.3, high=2.0), bytes a second

The slope is the median of the slopes between all pairs of points, and its bounds are those pairs'
order statistics by the variance of Kendall's S (Sen 1968, doi 10.1080/01621459.1968.10480934).
No normal errors are assumed, and one burst of a neighbour moves neither; what the points do assume
is that they do not depend on each other, so a reading is taken when nothing is in flight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

FEWEST = 6
"""Points below which the interval would reach beyond every slope that was seen."""

_Z = 1.6448536269514722  # one-sided 95 % of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Units of the series a unit of time; ``low`` and ``high`` are one-sided 95 % bounds."""

    slope: float
    low: float
    high: float


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Return the trend of ``values`` over ``times``, which rise.

    Raises ValueError for fewer than six points, where no bound could be given.
    """
    count = len(values)
    if count < FEWEST:
        raise ValueError(f"{count} readings: a trend needs {FEWEST}")
    points = zip(times, values, strict=True)
    slopes = sorted((b - a) / (end - start) for (start, a), (end, b) in combinations(points, 2))
    spread = _Z * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low, high = (len(slopes) - spread) / 2, (len(slopes) + spread) / 2
    return Trend(
        slope=_at(slopes, (len(slopes) - 1) / 2),
        # The ranks of the bounds count from one; rounded outwards, the interval is never too narrow.
        low=slopes[max(0, math.floor(low) - 1)],
        high=slopes[min(len(slopes) - 1, math.ceil(high))],
    )


def _at(ordered: Sequence[float], rank: float) -> float:
    """Return the value at a rank from zero, the mean of two between ranks."""
    return (ordered[math.floor(rank)] + ordered[math.ceil(rank)]) / 2
