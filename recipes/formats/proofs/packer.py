"""What packs when a proof packs again: any kernel with these two calls, else numpy.

The kernels of the quantize step are such packers, and several times as fast.
"""

from typing import Protocol

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.nvfp4 import U8, U16


class Packer(Protocol):
    """Packs flat runs of whole blocks; several threads may call it at once."""

    name: str

    def peak(self, weight: U16) -> int:
        """Return the largest |weight| as BF16 bits; see ``nvfp4.peak``."""
        ...

    def pack(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        """Pack [16 * n] weights into [8 * n] codes and [n] scales; see ``nvfp4.pack_blocks``."""
        ...


class NumpyPacker:
    """The formulas of ``nvfp4`` as they stand."""

    name = "numpy"

    def peak(self, weight: U16) -> int:
        """Return the largest |weight| as BF16 bits."""
        return nvfp4.peak(weight)

    def pack(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        """Pack whole blocks."""
        nvfp4.pack_blocks(weight, scale_2, codes, scales)
