"""The ledger as a picture: one bar a tree, its bytes by precision and by class of module.

    path.write_text(draw(ledgers))

A self-contained SVG: no font, script or file from elsewhere; colours follow the reader's
light or dark mode. Bars share one scale, so their lengths compare.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from recipes.formats.proofs.ledger import BLOCK_SCALES, CODES, GLOBAL_SCALES, Ledger
from recipes.formats.qwen3_5 import Kind

PICTURE_FILE = "ledger.svg"

# Codes first, then what was left alone: the eye compares the left ends.
_PRECISIONS = {CODES: "NVFP4", BLOCK_SCALES: "scales", GLOBAL_SCALES: "scales"}
_CLASSES: dict[Kind, tuple[str, str]] = {
    Kind.MLP: ("MLP", "#4c78a8"),
    Kind.LINEAR_ATTENTION: ("linear attention", "#54a24b"),
    Kind.FULL_ATTENTION: ("full attention", "#b279a2"),
    Kind.EMBEDDING: ("embedding", "#e49444"),
    Kind.LM_HEAD: ("output head", "#d1605e"),
    Kind.VISION: ("vision tower", "#59a5a8"),
    Kind.MTP: ("draft head", "#d5a021"),
    Kind.CONV1D: ("conv1d", "#9c755f"),
    Kind.NORM: ("norms", "#8c8c8c"),
    Kind.OTHER: ("other", "#777777"),
}
_SCALES_COLOUR = "#9aa5b1"
_TITLES = {"nvfp4": "NVFP4", "master": "BF16 master"}

_WIDTH, _LEFT, _RIGHT = 880, 16, 16
_BAR, _ROW, _TOP = 34, 92, 20
_LEGEND_ROW, _LEGEND_COLUMN = 20, 212
# A label is drawn where about this many pixels a letter are there.
_LETTER = 7.2

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.in { fill: #fff; font-size: 12px }
.line { stroke: #59636e }
rect { stroke: #fff; stroke-width: .6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .in { fill: #fff }
  .line { stroke: #9198a1 }
  rect { stroke: #0d1117 }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    """A piece of a bar: bytes of one class at one precision."""

    precision: str
    title: str
    colour: str
    size: int


def draw(ledgers: Sequence[Ledger]) -> str:
    """Return the picture of ``ledgers`` as SVG text; equal ledgers give equal text."""
    widest = max((ledger.totals.bytes for ledger in ledgers), default=0) or 1
    legend = _legend(ledgers)
    height = _TOP + _ROW * len(ledgers) + _LEGEND_ROW * ((len(legend) + 3) // 4) + 8
    words = "; ".join(f"{_title(ledger)} {_size(ledger.totals.bytes)}" for ledger in ledgers)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(f"Bytes by precision and module: {words}")}">',
        f"<style>{_STYLE}</style>",
    ]
    for number, ledger in enumerate(ledgers):
        lines += _bar(ledger, _TOP + number * _ROW, widest)
    lines += _legend_lines(legend, _TOP + _ROW * len(ledgers))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(ledger: Ledger, top: int, widest: int) -> Iterator[str]:
    per_byte = (_WIDTH - _LEFT - _RIGHT) / widest
    yield (
        f'<text x="{_LEFT}" y="{top}">{escape(_title(ledger))}: {_size(ledger.totals.bytes)}, '
        f"{_count(ledger.totals.parameters)} parameters, {ledger.totals.tensors} tensors</text>"
    )
    segments = _segments(ledger)
    at = float(_LEFT)
    for segment in segments:
        width = segment.size * per_byte
        yield (
            f'<rect x="{at:.2f}" y="{top + 8}" width="{width:.2f}" height="{_BAR}" fill="{segment.colour}">'
            f"<title>{escape(segment.title)}, {segment.precision}: {_size(segment.size)}</title></rect>"
        )
        if width > _LETTER * len(segment.title) + 8:
            yield (
                f'<text class="in" x="{at + width / 2:.2f}" y="{top + 8 + _BAR / 2 + 4:.0f}" '
                f'text-anchor="middle">{escape(segment.title)}</text>'
            )
        at += width
    yield from _braces(segments, top + 8 + _BAR, per_byte)


def _braces(segments: Sequence[_Segment], top: int, per_byte: float) -> Iterator[str]:
    """Draw below a bar which part of it has which precision; a part too small for words has none."""
    at = float(_LEFT)
    for precision in dict.fromkeys(segment.precision for segment in segments):
        size = sum(segment.size for segment in segments if segment.precision == precision)
        width = size * per_byte
        words = f"{precision} {_size(size)}"
        if width > _LETTER * len(words):
            yield (
                f'<path class="line" fill="none" d="M{at + 1:.2f} {top + 4}v4h{width - 2:.2f}v-4"/>'
                f'<text class="small" x="{at + width / 2:.2f}" y="{top + 22}" text-anchor="middle">'
                f"{words}</text>"
            )
        at += width


def _segments(ledger: Ledger) -> list[_Segment]:
    """Return the bar's pieces: codes, scales, other precisions; within each, one order of classes."""
    found: dict[tuple[str, str], int] = {}
    for kind, line in ledger.classes.items():
        for part, size in line.parts.items():
            precision = _PRECISIONS.get(part, part)
            key = (precision, "" if precision == "scales" else kind)
            found[key] = found.get(key, 0) + size
    order = {"NVFP4": 0, "scales": 1}
    ranks = {str(kind): rank for rank, kind in enumerate(_CLASSES)}
    keys = sorted(found, key=lambda key: (order.get(key[0], 2), key[0], ranks.get(key[1], 0)))
    return [_segment(precision, kind, found[precision, kind]) for precision, kind in keys]


def _segment(precision: str, kind: str, size: int) -> _Segment:
    title, colour = _CLASSES[Kind(kind)] if kind else ("scales", _SCALES_COLOUR)
    return _Segment(precision=precision, title=title, colour=colour, size=size)


def _legend(ledgers: Sequence[Ledger]) -> list[tuple[str, str]]:
    """Return (words, colour): each class that any tree has, with its bytes in every tree."""
    found = []
    for kind, (title, colour) in _CLASSES.items():
        sizes = [ledger.classes[kind].bytes for ledger in ledgers if kind in ledger.classes]
        if sizes:
            found.append((f"{title} {' | '.join(map(_size, sizes))}", colour))
    return [*found, ("scales of blocks and tensors", _SCALES_COLOUR)]


def _legend_lines(legend: Sequence[tuple[str, str]], top: int) -> Iterator[str]:
    for number, (words, colour) in enumerate(legend):
        x, y = _LEFT + number % 4 * _LEGEND_COLUMN, top + number // 4 * _LEGEND_ROW
        yield f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colour}"/>'
        yield f'<text class="small" x="{x + 18}" y="{y + 10}">{escape(words)}</text>'


def _title(ledger: Ledger) -> str:
    return _TITLES.get(ledger.name, ledger.name)


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def _count(number: int) -> str:
    value = float(number)
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.2f} G"
