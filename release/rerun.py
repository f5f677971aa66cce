"""A step built again, held against its result: equal bytes where promised, else figures.

A step that promises bytes must write each of its files again. One that measures is held
to a relative tolerance, figure by figure: the measurements of ``evidence.json`` and the
ranges of ``calibration.json``. What else it writes (replies, logs) is not compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import calibration, evidence, safetensors
from recipes.formats.step import TREE_FILE, Taken, parse_tree
from release.digest import CHUNK, Tree
from release.hoststep import Input

LINES_UP_TO = 8 << 20
"""Bytes of a text in which a line is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One file, or one figure of it: whether it holds, and what was found."""

    what: str
    holds: bool
    found: str


def compare_bytes(stored: Input, out: Path, inputs: Mapping[str, Input]) -> Iterator[Compared]:
    """Compare a run's ``out/`` with a stored tree, file by file, until the first difference in each.

    A file taken from an input is known by its digest and not read.
    """
    result = parse_tree((out / TREE_FILE).read_text())
    for path in sorted({*stored.tree.files, *result}):
        if path not in result or path not in stored.tree.files:
            missing = "not written again" if path not in result else "not in the result"
            yield Compared(what=path, holds=False, found=missing)
        else:
            yield _compare_file(path, stored, out, result[path], inputs)


def compare_figures(stored: Path, out: Path, tolerance: float) -> Iterator[Compared]:
    """Compare the figures of a run's ``out/`` with those of a stored folder."""
    old, new = (dict(_figures(folder)) for folder in (stored, out))
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            missing = "not measured again" if name not in new else "not in the result"
            yield Compared(what=name, holds=False, found=missing)
            continue
        off = relative(old[name], new[name])
        yield Compared(
            what=name, holds=off <= tolerance, found=f"{old[name]:.6g} → {new[name]:.6g} ({off:.2%} apart)"
        )


def relative(a: float, b: float) -> float:
    """Return how far ``b`` is from ``a``, as a share of ``a``."""
    if a == b:
        return 0.0
    return abs(b - a) / abs(a) if a else float("inf")


def first_difference(a: Path, b: Path) -> int | None:
    """Return the offset of the first byte in which two files differ; None when they are equal.

    Where one file is the beginning of the other, that is the end of the shorter.
    """
    offset = 0
    with a.open("rb") as one, b.open("rb") as other:
        while True:
            x, y = one.read(CHUNK), other.read(CHUNK)
            if x != y:
                shared = min(len(x), len(y))
                return offset + next((i for i in range(shared) if x[i] != y[i]), shared)
            if not x:
                return None
            offset += len(x)


def place(path: Path, offset: int) -> str:
    """Say what lies at ``offset`` of a file: the tensor, the line, or nothing more than the byte."""
    if path.suffix == ".safetensors":
        return f"byte {offset}, {_tensor(path, offset)}"
    if path.stat().st_size <= LINES_UP_TO:
        begin = path.read_bytes()[:offset]
        return f"byte {offset}, line {begin.count(10) + 1}"
    return f"byte {offset}"


def _tensor(path: Path, offset: int) -> str:
    try:
        header = safetensors.read_header(path)
    except safetensors.SafetensorsError as error:
        return f"no safetensors file: {error}"
    at = offset - header.data_offset
    for tensor in header.tensors.values():
        if tensor.begin <= at < tensor.end:
            item = (at - tensor.begin) // safetensors.ITEM_BYTES[tensor.dtype]
            return f"tensor {tensor.name} ({tensor.dtype} {list(tensor.shape)}), item {item}"
    return "in the header" if at < 0 else "after the last tensor"


def _compare_file(
    path: str, stored: Input, out: Path, taken: Taken | None, inputs: Mapping[str, Input]
) -> Compared:
    expected = stored.tree.files[path]
    if taken is not None:
        source: Tree = inputs[taken.input].tree
        equal = source.files.get(taken.path) == expected
        found = (
            f"taken from {taken.input}/{taken.path}"
            if equal
            else f"now taken from {taken.input}/{taken.path}"
        )
        return Compared(what=path, holds=equal, found=found)
    offset = first_difference(stored.folder / path, out / path)
    if offset is None:
        return Compared(what=path, holds=True, found=f"{expected.size} bytes equal")
    return Compared(
        what=path, holds=False, found=f"first difference at {place(stored.folder / path, offset)}"
    )


def _figures(folder: Path) -> Iterator[tuple[str, float]]:
    if (folder / evidence.EVIDENCE_FILE).is_file():
        parsed = evidence.parse((folder / evidence.EVIDENCE_FILE).read_text())
        yield from ((figure.name, figure.value) for figure in parsed.measurements)
    if (folder / calibration.CALIBRATION_FILE).is_file():
        for group in calibration.read(folder / calibration.CALIBRATION_FILE).ranges:
            yield f"input_amax of {group.members[0]}", group.input_amax
