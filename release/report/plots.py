"""Plots as SVG: inline they scale with a page that holds ``STYLE``; ``alone`` makes a file of one. Pure.

bars(("pos 0", "pos 1"), {"NVFP4": (0.88, 0.72), "BF16": (0.89, 0.73)}, unit="of drafts")
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 30, 62
TICKS = 4
TINY = 1e-12
"""No figure is drawn below this one."""

STYLE = """\
:root { --ink: #1c2330; --soft: #5c6675; --paper: #ffffff; --rule: #d8dee7;
  --c0: #2f6fde; --c1: #e08a1e; --c2: #2a9d6f; --c3: #9b5de5 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf1; --soft: #9aa5b5; --paper: #12161d;
  --rule: #313a48; --c0: #6ea0ff; --c1: #f0a94a; --c2: #55c596; --c3: #bd93f9 } }
.plot { font: 12px system-ui, sans-serif }
.plot text { fill: var(--ink) }
.plot .tick, .plot .unit { fill: var(--soft) }
.plot .grid { stroke: var(--rule) }
.plot .line { fill: none; stroke-width: 2 }
.plot .bar.s0, .plot .dot.s0 { fill: var(--c0) } .plot .line.s0 { stroke: var(--c0) }
.plot .bar.s1, .plot .dot.s1 { fill: var(--c1) } .plot .line.s1 { stroke: var(--c1) }
.plot .bar.s2, .plot .dot.s2 { fill: var(--c2) } .plot .line.s2 { stroke: var(--c2) }
.plot .bar.s3, .plot .dot.s3 { fill: var(--c3) } .plot .line.s3 { stroke: var(--c3) }
"""
"""Colours by the reader's light or dark mode, of a page and of a file alike; four series have one each."""

_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear scale from ``low`` .. ``high`` to pixels ``start`` .. ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the pixel of ``value``."""
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def bars(groups: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str) -> str:
    """Return grouped bars: one group for each name, one bar for each series; None leaves a gap."""
    top = nice(max((value for values in series.values() for value in values if value), default=1.0))
    y = Scale(low=0, high=top, start=HEIGHT - BOTTOM, end=TOP)
    return _figure([*_grid(y, unit), *_bars(groups, series, y), *_legend(list(series))], f"bars, {unit}")


def lines(series: Mapping[str, Sequence[tuple[float, float]]], x_unit: str, y_unit: str) -> str:
    """Return a line for each series of points, with the points marked where they are few."""
    points = [point for values in series.values() for point in values]
    if not points:
        return ""
    high = nice(max(y for _, y in points))
    x = Scale(low=0, high=max(x for x, _ in points) or 1.0, start=LEFT, end=WIDTH - RIGHT)
    y = Scale(low=0, high=high, start=HEIGHT - BOTTOM, end=TOP)
    parts = [*_grid(y, y_unit), *_x_axis(x, x_unit)]
    for at, values in enumerate(series.values()):
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in values)
        parts.append(f'<polyline class="line s{at}" points="{path}"/>')
        if len(values) <= 16:
            parts += [
                f'<circle class="dot s{at}" cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="4"/>' for a, b in values
            ]
    return _figure([*parts, *_legend(list(series))], f"{y_unit} over {x_unit}")


def alone(plot: str) -> str:
    """Return a plot as a file: with its style, and paper below it, since a page may be dark by its own word.

    Where nothing was measured, the file says so.
    """
    plot = plot or _figure([f'<text x="{LEFT}" y="{HEIGHT / 2}">not measured</text>'], "not measured")
    head, _, rest = plot.partition(">")
    size = f'xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
    paper = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" style="fill: var(--paper)"/>'
    return f"{head.replace('<svg', f'<svg {size}', 1)}><style>{STYLE}</style>{paper}{rest}\n"


def nice(value: float) -> float:
    """Return the round number that is not below ``value``: one or two digits and a power of ten."""
    if value < TINY:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value * (1 - 1e-9))


def thin(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """Return at most ``most`` points: of each stretch the one that stands out furthest."""
    if len(points) <= most:
        return list(points)
    mean = sum(y for _, y in points) / len(points)
    size = math.ceil(len(points) / most)
    stretches = (points[at : at + size] for at in range(0, len(points), size))
    return [max(stretch, key=lambda point: abs(point[1] - mean)) for stretch in stretches]


def _figure(parts: Sequence[str], label: str) -> str:
    return _svg(parts, HEIGHT, label)


def _svg(parts: Sequence[str], height: int, label: str) -> str:
    head = f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">'
    return f"{head}{''.join(parts)}</svg>"


def _grid(y: Scale, unit: str) -> Iterator[str]:
    yield f'<text class="unit" x="4" y="14">{escape(unit)}</text>'
    for tick in range(TICKS + 1):
        value = y.high * tick / TICKS
        at = y.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.4g}</text>'


def _x_axis(x: Scale, unit: str) -> Iterator[str]:
    for tick in range(TICKS + 1):
        value = x.high * tick / TICKS
        anchor = "middle" if tick < TICKS else "end"  # the last one would leave a narrow page
        yield (
            f'<text class="tick" x="{x.at(value):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="{anchor}">{value:.3g}</text>'
        )
    yield f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(unit)}</text>'


def _bars(groups: Sequence[str], series: Mapping[str, Sequence[float | None]], y: Scale) -> Iterator[str]:
    group = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    width = group * 0.8 / max(1, len(series))
    for number, name in enumerate(groups):
        start = LEFT + number * group + group * 0.1
        middle = start + group * 0.4
        anchor = "end" if len(groups) > 5 else "middle"
        turn = f' transform="rotate(-32 {middle:.1f} {HEIGHT - BOTTOM + 16})"' if len(groups) > 5 else ""
        yield (
            f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="{anchor}"{turn}>{escape(name)}</text>'
        )
        for at, (label, values) in enumerate(series.items()):
            value = values[number]
            if value is None:
                continue
            top, left = y.at(value), start + at * width
            title = f"<title>{escape(f'{label}, {name}: {value:.4g}')}</title>"
            yield (
                f'<rect class="bar s{at}" x="{left:.1f}" y="{top:.1f}" width="{width * 0.92:.1f}" '
                f'height="{y.start - top:.1f}">{title}</rect>'
            )


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = WIDTH - RIGHT
    for at in reversed(range(len(names))):
        x -= 9 * len(names[at]) + 26
        yield f'<rect class="bar s{at}" x="{x}" y="5" width="12" height="12"/>'
        yield f'<text class="tick" x="{x + 17}" y="15">{escape(names[at])}</text>'
