"""The picture of a release, drawn from the pipeline's own graph. Pure.

    flow()        # SVG text; docs/flow.svg, which README shows

A column for what follows what, a row for each tree and one for what both share. An arrow that
others already imply is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from release import pipeline, recipe
from release.derivation import Step
from release.lock import Lock, LockedSource

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny"
SHOWN_SOURCES = ("base", "master")
WIDE, HIGH, ACROSS, DOWN, EDGE = 100, 30, 122, 52, 16
ROWS = ("outer nvfp4", "nvfp4", "fidelity", "shared", "master", "outer master")
OUTER = ("sbom", "sanity")
"""Steps of a tree that stand beside others of the same tree."""
FILL = {"source": "#fff3cd", "image": "#dbeafe", "host": "#eef0f3", "end": "#d9f2e0"}
LEGEND = {
    "source": "checkpoints, locked by digest",
    "image": "steps in an environment of hashed wheels",
    "host": "pure functions on the host",
    "end": "both repos, or neither",
}
FITS = 13
"""Letters that a box holds in the usual size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One step at its place in the grid; ``after`` are the boxes that its arrows come from."""

    name: str
    kind: str
    column: int
    row: int
    after: tuple[str, ...]

    @property
    def left(self) -> int:
        """The x of its left edge."""
        return EDGE + self.column * ACROSS

    @property
    def middle(self) -> int:
        """The y of its middle."""
        return EDGE + self.row * DOWN + HIGH // 2


def flow() -> str:
    """Return the picture of a release as SVG."""
    boxes = {box.name: box for box in _boxes(_steps())}
    wide = 2 * EDGE + max(box.column for box in boxes.values()) * ACROSS + WIDE
    high = 2 * EDGE + (len(ROWS) - 1) * DOWN + HIGH + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-size="13" '
        'font-family="system-ui, sans-serif" role="img" aria-label="The steps of a release">',
        f'<rect width="{wide}" height="{high}" rx="8" fill="#ffffff"/>',
        *(_arrow(boxes[name], box) for box in boxes.values() for name in box.after),
        *(line for box in boxes.values() for line in _drawn(box)),
        *_legend(high),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _steps() -> Sequence[Step]:
    wanted = recipe.load(TINY)
    sources = {name: LockedSource(source, "0" * 64) for name, source in wanted.sources.items()}
    return pipeline.graph(wanted, Lock(sources=sources, images={}), {}, "0.0.0", {}).steps


def _boxes(steps: Sequence[Step]) -> Iterator[Box]:
    inputs = {step.name: tuple(dict.fromkeys(step.inputs.values())) for step in steps} | dict.fromkeys(
        SHOWN_SOURCES, ()
    )
    inputs = {name: tuple(one for one in after if one in inputs) for name, after in inputs.items()}
    columns = _columns(steps, inputs)
    for name in SHOWN_SOURCES:
        yield Box(
            name=name,
            kind="source",
            column=0,
            row=ROWS.index("nvfp4" if name == "base" else "master"),
            after=(),
        )
    for step in steps:
        kind = "image" if step.image else "host"
        after = tuple(sorted(_direct(step.name, inputs)))
        yield Box(name=step.name, kind=kind, column=columns[step.name], row=_row(step.name), after=after)
    ends = tuple(step.name for step in steps if step.does == "assemble")
    last = 1 + max(columns.values())
    yield Box(name="publish", kind="end", column=last, row=_row("publish"), after=ends)


def _columns(steps: Sequence[Step], inputs: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    """Return the column of each step: after all that it needs, its sibling beside it.

    What needs nothing stands right before what needs it.
    """
    depth: dict[str, int] = {}
    for step in steps:
        depth[step.name] = 1 + max((depth.get(name, 0) for name in inputs[step.name]), default=-1)
    for step in steps:
        users = [depth[user] for user, after in inputs.items() if step.name in after]
        if depth[step.name] == 0 and users:
            depth[step.name] = min(users) - 1
    return {step.name: max(depth[other.name] for other in steps if other.does == step.does) for step in steps}


def _direct(name: str, inputs: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return the inputs of ``name`` that no other input of it already rests on."""
    implied = {below for one in inputs[name] for below in _below(one, inputs)}
    return frozenset(inputs[name]) - implied


def _below(name: str, inputs: Mapping[str, Sequence[str]]) -> frozenset[str]:
    direct = inputs[name]
    return frozenset(direct).union(*(_below(one, inputs) for one in direct))


def _row(name: str) -> int:
    does, _, kind = name.rpartition("-")
    if kind in pipeline.KINDS:
        return ROWS.index(f"outer {kind}" if does in OUTER else kind)
    return ROWS.index(name if name in ROWS else "shared")


def _arrow(start: Box, end: Box) -> str:
    x, y, to_x, to_y = start.left + WIDE, start.middle, end.left, end.middle
    bend = to_x - (ACROSS - WIDE)
    path = f"M{x},{y} H{bend} C{bend + 12},{y} {to_x - 12},{to_y} {to_x - 2},{to_y}"
    head = f"M{to_x - 7},{to_y - 4} L{to_x},{to_y} L{to_x - 7},{to_y + 4}"
    return f'<path d="{path} {head}" fill="none" stroke="#8a93a3" stroke-width="1.4"/>'


def _drawn(box: Box) -> Iterator[str]:
    top = box.middle - HIGH // 2
    yield (
        f'<rect x="{box.left}" y="{top}" width="{WIDE}" height="{HIGH}" rx="6" '
        f'fill="{FILL[box.kind]}" stroke="#5b6577"/>'
    )
    size = 13 if len(box.name) <= FITS else 11
    yield (
        f'<text x="{box.left + WIDE // 2}" y="{box.middle + 4}" text-anchor="middle" '
        f'font-size="{size}" fill="#1f2733">{escape(box.name)}</text>'
    )


def _legend(high: int) -> Iterator[str]:
    at = EDGE
    for kind, words in LEGEND.items():
        fill = f'rx="3" fill="{FILL[kind]}" stroke="#5b6577"'
        yield f'<rect x="{at}" y="{high - 24}" width="14" height="14" {fill}/>'
        yield f'<text x="{at + 20}" y="{high - 12}" fill="#1f2733">{escape(words)}</text>'
        at += 48 + 7 * len(words)
