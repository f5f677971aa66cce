"""Run in the quantize environment: hold every packer against modelopt's, print what differs as JSON.

The Triton kernel runs in Triton's interpreter, which needs no GPU.
"""

import json
import os
import sys
from collections.abc import Callable

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
from modelopt.torch.quantization.qtensor import NVFP4QTensor

from recipes.formats import nvfp4
from recipes.formats.nvfp4 import Packed
from recipes.steps.quantize.kernels import gpu
from recipes.steps.quantize.kernels.cpu import CpuKernel
from tests.unit.formats.families import families

Packer = Callable[[nvfp4.U16, np.float32], Packed]


def main() -> None:
    """Compare over every family of weights and print ``{"family: packer": [what differs]}``."""
    packers: dict[str, Packer] = {
        "numpy": lambda bits, scale_2: nvfp4.pack("weight", bits, scale_2),
        "llvm": _by_llvm(CpuKernel()),
        "triton": _by_triton,
    }
    found = {}
    for family, bits in families().items():
        for name, packer in packers.items():
            found[f"{family}: {name}"] = differences(bits, packer)
    json.dump(found, sys.stdout)


def differences(bits: nvfp4.U16, packer: Packer) -> list[str]:
    """Return which parts of the packed ``bits`` are not modelopt's, bit for bit."""
    theirs, scales, scale_2 = NVFP4QTensor.quantize(_tensor(bits), nvfp4.GROUP_SIZE)
    sizes = {-1: nvfp4.GROUP_SIZE}
    values = theirs.dequantize(dtype=torch.float32, scale=scales, double_scale=scale_2, block_sizes=sizes)
    ours_2 = nvfp4.global_scale([("weight", bits)])
    ours = packer(bits, ours_2)
    equal = {
        "weight_scale_2": ours_2 == np.float32(scale_2.item()),
        "weight_scale": np.array_equal(ours.scales, scales.view(torch.uint8).numpy()),
        "weight": np.array_equal(ours.codes, theirs._quantized_data.numpy()),
        "unpacked": np.array_equal(nvfp4.unpack(ours.codes, ours.scales, ours_2), values.numpy()),
    }
    return [part for part, same in equal.items() if not same]


def _by_llvm(kernel: CpuKernel) -> Packer:
    def pack(bits: nvfp4.U16, scale_2: np.float32) -> Packed:
        rows, columns = bits.shape
        packed = Packed(np.empty((rows, columns // 2), np.uint8), np.empty((rows, columns // 16), np.uint8))
        kernel.pack(bits.reshape(-1), scale_2, packed.codes.reshape(-1), packed.scales.reshape(-1))
        return packed

    return pack


def _by_triton(bits: nvfp4.U16, scale_2: np.float32) -> Packed:
    # The interpreter has no fused multiply-add, which division by the inverse is made of.
    codes, scales = gpu.pack(_tensor(bits), float(scale_2), exact_division=True)
    return Packed(codes.numpy(), scales.numpy())


def _tensor(bits: nvfp4.U16) -> torch.Tensor:
    return torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16)


if __name__ == "__main__":
    main()
