"""Run in the quantize environment: hold the packer against modelopt's, print what differs as JSON."""

import json
import sys

import numpy as np
import torch
from modelopt.torch.quantization.qtensor import NVFP4QTensor

from recipes.formats import nvfp4


def main() -> None:
    """Compare over every kind of weight and print ``{case: [what differs]}``."""
    json.dump({name: differences(bits) for name, bits in cases()}, sys.stdout)


def cases() -> list[tuple[str, nvfp4.U16]]:
    """Return named BF16 matrices: random, ties, zeros, subnormals, every finite pattern."""
    random = np.random.default_rng(0)
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    every = every[(every & 0x7FFF) < 0x7F80]
    normal = nvfp4.f32_to_bf16((random.standard_normal((96, 512)) * 0.02).astype(np.float32))
    ties = nvfp4.f32_to_bf16(random.choice(np.array(TIES, np.float32), (64, 256)))
    ties[:, 0] = nvfp4.f32_to_bf16(np.array([6 * 448], np.float32))[0]
    holes = np.where(random.random(normal.shape) < 0.5, normal & 0x8000, normal).astype(np.uint16)
    holes[:, 32:64] = 0
    found = [("random", normal), ("ties", ties), ("zeros", holes), ("every", np.resize(every, (128, 512)))]
    return found + [(f"exponents {low} to {high}", _spread(random, low, high)) for low, high in EXPONENTS]


def differences(bits: nvfp4.U16) -> list[str]:
    """Return which parts of the packed ``bits`` are not modelopt's, bit for bit."""
    weight = torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16)
    theirs, scales, scale_2 = NVFP4QTensor.quantize(weight.clone(), nvfp4.GROUP_SIZE)
    sizes = {-1: nvfp4.GROUP_SIZE}
    values = theirs.dequantize(dtype=torch.float32, scale=scales, double_scale=scale_2, block_sizes=sizes)
    ours_2 = nvfp4.global_scale([("weight", bits)])
    ours = nvfp4.pack("weight", bits, ours_2)
    equal = {
        "weight_scale_2": ours_2 == np.float32(scale_2.item()),
        "weight_scale": np.array_equal(ours.scales, scales.view(torch.uint8).numpy()),
        "weight": np.array_equal(ours.codes, theirs._quantized_data.numpy()),
        "unpacked": np.array_equal(nvfp4.unpack(ours.codes, ours.scales, ours_2), values.numpy()),
    }
    return [part for part, same in equal.items() if not same]


def _spread(random: np.random.Generator, low: int, high: int) -> nvfp4.U16:
    exponents = random.integers(low, high + 1, (64, 256)).astype(np.uint16) << np.uint16(7)
    return exponents | random.integers(0, 0x80, exponents.shape).astype(np.uint16) | _signs(random)


def _signs(random: np.random.Generator) -> nvfp4.U16:
    return random.integers(0, 2, (64, 256)).astype(np.uint16) << np.uint16(15)


TIES = [s * t for s in (-1, 1) for t in (0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, 112, 224, 448)]
# BF16 exponents, biased by 127; 0 holds the subnormals.
EXPONENTS = [(0, 14), (0, 40), (20, 30), (100, 140), (120, 127), (200, 254)]

if __name__ == "__main__":
    main()
