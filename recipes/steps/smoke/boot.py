"""Figures of several boots made one: the median, and how far the boots lie apart. Pure.

An engine may choose other kernels at each start, so the figures of one boot are one draw. The
range is over the median; a gate holds it, and a range that is too wide decides nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from recipes.formats.evidence import Measurement

RATE = "output_tokens_per_second_"
RANGE = "_boot_range"


def combined(boots: Sequence[Sequence[Measurement]]) -> list[Measurement]:
    """Return each figure's median over ``boots``, and the range of each rate when there are several.

    Every boot has the same figures in the same order.
    """
    if len(boots) == 1:
        return list(boots[0])
    return [made for figure in zip(*boots, strict=True) for made in _of(figure)]


def _of(figure: Sequence[Measurement]) -> list[Measurement]:
    first, values = figure[0], [each.value for each in figure]
    middle = median(values)
    how = f"median of {len(figure)} boots, each: {first.how}"
    made = [replace(first, value=middle, n=sum(each.n for each in figure), how=how)]
    if first.name.startswith(RATE):
        told = ", ".join(f"{value:.4g}" for value in values)
        apart = (max(values) - min(values)) / middle if middle else 0.0
        how = f"fastest less slowest boot over their median: {told} {first.unit}"
        name = f"{first.name}{RANGE}"
        made.append(Measurement(name=name, value=apart, unit="fraction", n=len(figure), how=how))
    return made
