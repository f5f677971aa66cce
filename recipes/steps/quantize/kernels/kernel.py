"""Which kernel packs: they differ in speed alone, so the choice is in no byte of the result.

kernel = choose(weight_bytes)
top = kernel.peak(weight)
kernel.pack(weight, scale_2, codes, scales)
"""

from typing import Protocol

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.nvfp4 import U8, U16

# Loading LLVM takes as long as numpy takes to pack this much.
LLVM_PAYS_FROM = 32 << 20


class Kernel(Protocol):
    """Packs flat runs of whole blocks; several threads may call it at once."""

    name: str

    def peak(self, weight: U16) -> int:
        """Return the largest |weight| as BF16 bits; see ``nvfp4.peak``."""
        ...

    def pack(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        """Pack [16 * n] weights into [8 * n] codes and [n] scales; see ``nvfp4.pack_blocks``."""
        ...


class NumpyKernel:
    """The reference: the formulas of ``nvfp4``, in memory order."""

    name = "numpy"

    def peak(self, weight: U16) -> int:
        """Return the largest |weight| as BF16 bits."""
        return nvfp4.peak(weight)

    def pack(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        """Pack whole blocks."""
        nvfp4.pack_blocks(weight, scale_2, codes, scales)


def choose(weight_bytes: int, *, gpu: bool = False) -> Kernel:
    """Return the kernel for ``weight_bytes`` of BF16 weights that lie in files.

    The CPU packs as fast as a disk takes the result, and a GPU was no faster (docs/quantizing.md):
    it packs where ``gpu`` asks for it and one is at hand.
    """
    # Imported where needed: torch takes seconds to load, LLVM a fifth of one.
    if weight_bytes < LLVM_PAYS_FROM:
        return NumpyKernel()
    if gpu:
        import torch

        if torch.cuda.is_available():
            from recipes.steps.quantize.kernels.gpu import GpuKernel

            return GpuKernel()
    from recipes.steps.quantize.kernels.cpu import CpuKernel

    return CpuKernel()
