"""How far the tensors of two checkpoints are from each other, a packed weight as what it stands for.

    for found in distances(ours, theirs, Comparer(Depth.FULL)):
        print(found.name, found.verdict, found.error)

Equal bytes are told as such; what differs is told by the Frobenius norm of the difference over
that of ours, over at most ``ROWS`` rows evenly from the first to the last.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod, sqrt

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.packing import WEIGHT, Scheme, scheme_of
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.error import ROWS
from recipes.formats.qwen3_5 import module_of
from recipes.formats.safetensors import ITEM_BYTES, Tensor

PLAIN = ("BF16", "F16", "F32")


class Verdict(StrEnum):
    """What is known of one tensor of two checkpoints."""

    EQUAL = "equal"
    DIFFERS = "differs"
    ONLY_OURS = "only in the first"
    ONLY_THEIRS = "only in the second"
    OTHER_SHAPE = "of another shape"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """One tensor, by the name it has where nothing is packed. ``error`` is None unless it differs."""

    name: str
    verdict: Verdict
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of a checkpoint, with the tensors that it is stored as; packed when it has ``scheme``."""

    name: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    scheme: Scheme | None


def weights(tensors: Mapping[str, Tensor]) -> dict[str, Weight]:
    """Return the weights of a checkpoint by the names that they have where nothing is packed."""
    scheme = scheme_of(tensors)
    scaled = {module_of(name) for name in tensors if name.rpartition(".")[2] in scheme.scales}
    found = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf in scheme.scales:
            continue
        if module in scaled and leaf == scheme.codes and tensor.dtype == "U8" and len(tensor.shape) > 1:
            parts = tuple(sorted(part for part in tensors if part.rpartition(".")[0] == module))
            shape = (tensor.shape[0], 2 * tensor.shape[1])
            found[f"{module}.{WEIGHT}"] = Weight(name, _stored(parts, scheme), shape, "NVFP4", scheme)
        else:
            found[name] = Weight(name, (name,), tensor.shape, tensor.dtype, None)
    return found


def distances(ours: Checkpoint, theirs: Checkpoint, comparer: Comparer) -> Iterator[Distance]:
    """Yield what is known of every weight of either checkpoint, sorted by name."""
    mine, other = (
        weights({name: place.tensor for name, place in side.tensors.items()}) for side in (ours, theirs)
    )
    for name in sorted(mine.keys() | other.keys()):
        if name not in mine or name not in other:
            yield Distance(name=name, verdict=Verdict.ONLY_OURS if name in mine else Verdict.ONLY_THEIRS)
        else:
            yield _distance(name, (ours, mine[name]), (theirs, other[name]), comparer)


def _stored(parts: tuple[str, ...], scheme: Scheme) -> tuple[str, ...]:
    leaves = {scheme.codes, scheme.block_scales, scheme.global_scale}
    return tuple(part for part in parts if part.rpartition(".")[2] in leaves)


def _distance(
    name: str, ours: tuple[Checkpoint, Weight], theirs: tuple[Checkpoint, Weight], comparer: Comparer
) -> Distance:
    first, second = ours[1], theirs[1]
    if first.shape != second.shape:
        return Distance(name=name, verdict=Verdict.OTHER_SHAPE)
    if first.parts == second.parts and not any(comparer.compare(first.parts, ours[0], theirs[0]).values()):
        return Distance(name=name, verdict=Verdict.EQUAL)
    if not all(weight.scheme or weight.dtype in PLAIN for weight in (first, second)):
        return Distance(name=name, verdict=Verdict.NOT_COMPARED)
    return Distance(name=name, verdict=Verdict.DIFFERS, error=_error(ours, theirs))


def _error(ours: tuple[Checkpoint, Weight], theirs: tuple[Checkpoint, Weight]) -> float:
    shape = ours[1].shape
    count = shape[0] if len(shape) > 1 else 1
    wrong = norm = 0.0
    for row in sorted({number * (count - 1) // max(1, ROWS - 1) for number in range(ROWS)}):
        first, second = (_row(*side, row).astype(np.float64) for side in (ours, theirs))
        wrong += float(np.sum((first - second) ** 2))
        norm += float(np.sum(first**2))
    return sqrt(wrong / norm) if norm else (0.0 if wrong == 0 else float("inf"))


def _row(checkpoint: Checkpoint, weight: Weight, row: int) -> nvfp4.F32:
    """Return row ``row`` as float32; a vector is one row."""
    columns = prod(weight.shape[1:]) if len(weight.shape) > 1 else prod(weight.shape)
    if weight.scheme is not None:
        return _packed_row(checkpoint, weight, weight.scheme, row, columns)
    width = columns * ITEM_BYTES[weight.dtype]
    data = checkpoint.part(weight.name, row * width, (row + 1) * width)
    if weight.dtype == "BF16":
        return nvfp4.bf16_to_f32(nvfp4.bf16(data, (columns,)))
    return np.frombuffer(data, "<f2" if weight.dtype == "F16" else "<f4").astype(np.float32)


def _packed_row(checkpoint: Checkpoint, weight: Weight, scheme: Scheme, row: int, columns: int) -> nvfp4.F32:
    module = module_of(weight.name)
    codes, scales = (
        np.frombuffer(checkpoint.part(f"{module}.{leaf}", row * width, (row + 1) * width), np.uint8)
        for leaf, width in ((scheme.codes, columns // 2), (scheme.block_scales, columns // nvfp4.GROUP_SIZE))
    )
    scale = np.frombuffer(checkpoint.read(f"{module}.{scheme.global_scale}"), "<f4")[0]
    with np.errstate(all="ignore"):
        scale = np.float32(1) / scale if scheme.reciprocal else scale
        found: nvfp4.F32 = nvfp4.unpack(codes[None], scales[None], scale)[0]
    return found
