"""The band of relative errors holds what packing leaves and nothing else, for small tensors too."""

import numpy as np
import pytest

from recipes.formats import nvfp4
from recipes.formats.proofs.error import HIGHEST, LOWEST, Error

FAMILIES = ("normal", "uniform", "student")


def measured(family: str, shape: tuple[int, int], seed: int, scale: float = 1.0, swap: bool = False) -> Error:
    random = np.random.default_rng(seed)
    drawn = {
        "normal": random.standard_normal(shape) * 0.02,
        "uniform": random.uniform(-0.05, 0.05, shape),
        "student": random.standard_t(3, shape) * 0.02,
    }[family]
    bits = nvfp4.f32_to_bf16(drawn.astype(np.float32))
    weights = nvfp4.bf16_to_f32(bits)
    scale_2 = nvfp4.global_scale([("w", bits)])
    packed = nvfp4.pack("w", bits, scale_2)
    codes = packed.codes >> 4 | packed.codes << 4 if swap else packed.codes
    unpacked = nvfp4.unpack(codes.astype(np.uint8), packed.scales, scale_2 * np.float32(scale))
    value = np.linalg.norm(unpacked - weights) / np.linalg.norm(weights)
    return Error(float(value), weights.size // nvfp4.GROUP_SIZE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(4, 16), (16, 64), (256, 1024)])
def test_what_packing_leaves_lies_inside(family: str, shape: tuple[int, int]) -> None:
    assert all(measured(family, shape, seed).is_normal for seed in range(50))


@pytest.mark.parametrize("family", FAMILIES)
def test_swapped_nibbles_and_wrong_scales_lie_outside(family: str) -> None:
    for seed in range(5):
        assert not measured(family, (256, 1024), seed, swap=True).is_normal
        assert not measured(family, (256, 1024), seed, scale=1.1).is_normal


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), LOWEST - 0.01, HIGHEST + 0.01, 1.4])
def test_nothing_else_is_normal(value: float) -> None:
    assert not Error(value, 10**6).is_normal
