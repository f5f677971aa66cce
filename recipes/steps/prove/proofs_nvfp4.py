"""Claims about the packed body: complete, usable by an engine, and what the master packs to."""

import struct
from collections.abc import Iterator, Mapping
from functools import partial
from math import isfinite

import numpy as np

from recipes.formats import nvfp4, progress
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.nvfp4 import INPUT_SCALE, WEIGHT, WEIGHT_SCALE, WEIGHT_SCALE_2
from recipes.steps.prove.claim import Claim, Finding, count, find
from recipes.steps.prove.trees import Trees

# e4m3fn bits of the finite numbers above zero; 0x7F is NaN, 0x80 and up are negative.
_E4M3_FIRST, _E4M3_LAST = 0x01, 0x7E


def claims(trees: Trees, in_proj_ab: str | None) -> Iterator[Claim]:
    """Yield the claims about the NVFP4 tree. ``in_proj_ab`` is what the recipe asked for, if known."""
    yield Claim(
        "nvfp4-body",
        "modules with scales in the nvfp4 tree: the body's Linears by the config",
        partial(_body_is_packed, trees, in_proj_ab),
    )
    yield Claim(
        "nvfp4-four-tensors",
        "dtype and shape of the four tensors of every packed Linear, and of the master's weight",
        partial(_four_tensors, trees),
    )
    yield Claim(
        "scales-finite-positive",
        "every value of every scale of the nvfp4 tree",
        partial(_scales_usable, trees),
    )
    yield Claim(
        "one-scale-per-fused-group",
        "weight_scale_2 and input_scale over the members of every fused group",
        partial(_one_scale, trees),
    )
    yield Claim(
        "repack",
        "weight, weight_scale and weight_scale_2 of every packed Linear: the master, packed again",
        partial(_repack, trees),
    )


def packs_in_proj_ab(trees: Trees) -> bool:
    """Whether the tree packs any of the gates ``in_proj_a`` and ``in_proj_b``."""
    return not set(trees.quantized()).isdisjoint(trees.layout.in_proj_ab())


def _groups(trees: Trees) -> tuple[tuple[str, ...], ...]:
    return trees.layout.fused_groups(in_proj_ab=packs_in_proj_ab(trees))


def _body_is_packed(trees: Trees, in_proj_ab: str | None) -> Finding:
    wanted = packs_in_proj_ab(trees) if in_proj_ab is None else in_proj_ab == "nvfp4"
    expected = {name for group in trees.layout.fused_groups(in_proj_ab=wanted) for name in group}
    found = set(trees.quantized())
    flaws = [
        f"{name}: {'packed, but not to be' if name in found else 'not packed'}"
        for name in sorted(found ^ expected)
    ]
    return find(flaws, f"{len(expected)} Linears packed")


def _four_tensors(trees: Trees) -> Finding:
    modules = trees.quantized()
    number = count(modules, "packed Linear")
    flaws = [flaw for module in modules for flaw in _tensor_flaws(module, trees)]
    return find(flaws, f"{number} Linears, {len(nvfp4.DTYPES)} tensors each")


def _tensor_flaws(module: str, trees: Trees) -> Iterator[str]:
    shape = trees.master.locate(f"{module}.{WEIGHT}").tensor.shape
    if len(shape) != 2:
        yield f"{module}: the master's weight is no matrix"
        return
    shapes = nvfp4.shapes(*shape)
    for leaf, dtype in nvfp4.DTYPES.items():
        place = trees.nvfp4.tensors.get(f"{module}.{leaf}")
        got = "none" if place is None else f"{place.tensor.dtype} {list(place.tensor.shape)}"
        expected = f"{dtype} {list(shapes[leaf])}"
        if got != expected:
            yield f"{module}.{leaf}: expected {expected}, got {got}"


def _scales_usable(trees: Trees) -> Finding:
    names = [
        name for name in trees.nvfp4.tensors if name.endswith((WEIGHT_SCALE, WEIGHT_SCALE_2, INPUT_SCALE))
    ]
    number = count(names, "scale")
    flaws = ((name, _scale_flaw(name, trees.nvfp4)) for name in names)
    return find((f"{name}: {flaw}" for name, flaw in flaws if flaw), f"{number} tensors of scales")


def _scale_flaw(name: str, checkpoint: Checkpoint) -> str:
    if checkpoint.locate(name).tensor.dtype == "F32":
        value = _scalar(name, checkpoint)
        return "" if isfinite(value) and value > 0 else f"scale is {value}"
    bits = np.frombuffer(checkpoint.read(name), np.uint8)
    bad = int(np.count_nonzero((bits < _E4M3_FIRST) | (bits > _E4M3_LAST)))
    return f"{bad} of {bits.size} block scales are zero, negative or NaN" if bad else ""


def _one_scale(trees: Trees) -> Finding:
    groups = _groups(trees)
    number = count(groups, "fused group")
    flaws = [flaw for group in groups for flaw in _group_flaws(group, trees.nvfp4)]
    return find(flaws, f"{number} fused groups")


def _group_flaws(group: tuple[str, ...], checkpoint: Checkpoint) -> Iterator[str]:
    for leaf in (WEIGHT_SCALE_2, INPUT_SCALE):
        values = {module: _scalar(f"{module}.{leaf}", checkpoint) for module in group}
        if len(set(values.values())) > 1:
            yield f"{leaf} differs in a fused group: {_table(values)}"


def _repack(trees: Trees) -> Finding:
    groups = _groups(trees)
    number = count(groups, "fused group")
    flaws: list[str] = []
    for done, group in enumerate(groups, 1):
        flaws += _repack_group(group, trees)
        progress.update("repack", done, number, "groups")
    modules = sum(len(group) for group in groups)
    return find(flaws, f"{modules} Linears in {number} fused groups, equal bytes")


def _repack_group(group: tuple[str, ...], trees: Trees) -> Iterator[str]:
    """Pack one fused group of the master, which is all that is held in memory."""
    weights = {}
    for module in group:
        name = f"{module}.{WEIGHT}"
        tensor = trees.master.locate(name).tensor
        if tensor.dtype != "BF16":
            yield f"{name}: {tensor.dtype} in the master, nothing to pack"
            return
        weights[module] = nvfp4.bf16(trees.master.read(name), tensor.shape)
    scale_2 = nvfp4.global_scale((f"{module}.{WEIGHT}", bits) for module, bits in weights.items())
    for module, bits in weights.items():
        packed = nvfp4.pack(f"{module}.{WEIGHT}", bits, scale_2)
        expected = {
            WEIGHT: packed.codes.tobytes(),
            WEIGHT_SCALE: packed.scales.tobytes(),
            WEIGHT_SCALE_2: struct.pack("<f", scale_2),
        }
        for leaf, data in expected.items():
            if trees.nvfp4.read(f"{module}.{leaf}") != data:
                yield f"{module}.{leaf}: bytes differ from the master's, packed again"


def _scalar(name: str, checkpoint: Checkpoint) -> float:
    data = checkpoint.read(name)
    if len(data) != 4:
        raise ValueError(f"{name}: expected one float32, got {len(data)} bytes")
    (value,) = struct.unpack("<f", data)
    return float(value)


def _table(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.9g}" for name, value in values.items())
