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
# Dark enough for white letters on them (4.5 to 1), and to be told apart on white and on black.
_CLASSES: dict[Kind, tuple[str, str]] = {
    Kind.MLP: ("MLP", "#3d6b9e"),
    Kind.LINEAR_ATTENTION: ("linear attention", "#3a7d34"),
    Kind.FULL_ATTENTION: ("full attention", "#8f5a93"),
    Kind.EMBEDDING: ("embedding", "#a85d14"),
    Kind.LM_HEAD: ("output head", "#b84340"),
    Kind.VISION: ("vision tower", "#287a7e"),
    Kind.MTP: ("draft head", "#8a6b0c"),
    Kind.CONV1D: ("conv1d", "#7d5f4c"),
    Kind.NORM: ("norms", "#6b6b6b"),
    Kind.OTHER: ("other", "#555555"),
}
_SCALES_COLOUR = "#69737f"
_TITLES = {"nvfp4": "NVFP4", "master": "BF16 master"}
# How strong the stripe below a bar is: the fewer bits, the stronger.
_STRENGTHS = {"NVFP4": "0.9", "scales": "0.5"}
_PLAIN_STRENGTH = "0.2"

# Narrow, so that letters can still be read where a card is shown on a phone.
_WIDTH, _SIDE = 600, 16
_BAR, _STRIPE, _ROW, _TOP = 34, 6, 96, 22
_LEGEND_ROW, _LEGEND_COLUMN, _COLUMNS = 21, 284, 2
# About as many pixels as a letter takes.
_LETTER = 7.4

_STYLE = """\
.paper { fill: #fff }
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 13px; fill: #59636e }
.in { fill: #fff; font-size: 13px }
.stripe { fill: #1f2328 }
.bar { stroke: #fff; stroke-width: .6 }
@media (prefers-color-scheme: dark) {
  text, .stripe { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .in { fill: #fff }
  .bar { stroke: #0d1117 }
  .paper { fill: #0d1117 }
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
    height = _TOP + _ROW * len(ledgers) + _LEGEND_ROW * -(-len(legend) // _COLUMNS) + 4
    words = "; ".join(f"{_title(ledger)} {_size(ledger.totals.bytes)}" for ledger in ledgers)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(f"Bytes by precision and module: {words}")}">',
        f"<style>{_STYLE}</style>",
        # A page may be dark or light by its own word, against the reader's mode.
        f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>',
    ]
    for number, ledger in enumerate(ledgers):
        lines += _bar(ledger, _TOP + number * _ROW, widest)
    lines += _legend_lines(legend, _TOP + _ROW * len(ledgers))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(ledger: Ledger, top: int, widest: int) -> Iterator[str]:
    per_byte = (_WIDTH - 2 * _SIDE) / widest
    yield (
        f'<text x="{_SIDE}" y="{top}">{escape(_title(ledger))}: {_size(ledger.totals.bytes)}, '
        f"{_count(ledger.totals.parameters)} parameters, {ledger.totals.tensors} tensors</text>"
    )
    segments = _segments(ledger)
    at = float(_SIDE)
    for segment in segments:
        width = segment.size * per_byte
        yield (
            f'<rect class="bar" x="{at:.2f}" y="{top + 8}" width="{width:.2f}" height="{_BAR}" '
            f'fill="{segment.colour}"><title>{escape(segment.title)}, {segment.precision}: '
            f"{_size(segment.size)}</title></rect>"
        )
        if width > _LETTER * len(segment.title) + 8:
            yield (
                f'<text class="in" x="{at + width / 2:.2f}" y="{top + 8 + _BAR / 2 + 5:.0f}" '
                f'text-anchor="middle">{escape(segment.title)}</text>'
            )
        at += width
    yield from _stripe(segments, top + 8 + _BAR + 3, per_byte)


def _stripe(segments: Sequence[_Segment], top: int, per_byte: float) -> Iterator[str]:
    """Draw below a bar which part of it has which precision, and below that how much that is."""
    at, words_at = float(_SIDE), float(_SIDE)
    for precision in dict.fromkeys(segment.precision for segment in segments):
        size = sum(segment.size for segment in segments if segment.precision == precision)
        words, strength = f"{precision} {_size(size)}", _STRENGTHS.get(precision, _PLAIN_STRENGTH)
        mark = f'<rect class="stripe" fill-opacity="{strength}"'
        yield f'{mark} x="{at:.2f}" y="{top}" width="{size * per_byte:.2f}" height="{_STRIPE}"/>'
        yield f'{mark} x="{words_at:.1f}" y="{top + 13}" width="10" height="10"/>'
        yield f'<text class="small" x="{words_at + 15:.1f}" y="{top + 23}">{escape(words)}</text>'
        at += size * per_byte
        words_at += 15 + _LETTER * len(words) + 16


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
        x, y = _SIDE + number % _COLUMNS * _LEGEND_COLUMN, top + number // _COLUMNS * _LEGEND_ROW
        yield f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colour}"/>'
        yield f'<text class="small" x="{x + 18}" y="{y + 11}">{escape(words)}</text>'


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
