"""How far packed weights lie from the master's: the Frobenius norm of the difference over theirs.

Why a band and not a bound: E2M1 under a scale for 16 weights has an error that hardly
depends on the weights. It is 0.095 for a normal distribution, 0.090 for Student's t with
three degrees of freedom, 0.101 for a uniform one, 0.093 to 0.097 for trained Linears.
Swapped nibbles give 1.4, another tensor's scales 0.35, block scales one step too small
0.125; a master that was rounded to NVFP4 before gives 0.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.packing import WEIGHT
from recipes.formats.proofs.subject import Body

LOWEST, HIGHEST = 0.08, 0.12
# The figure of few blocks scatters: of 16 by 0.017, of 4 by 0.03.
SCATTER = 0.08

# Rows that are looked at, evenly from the first to the last: the norm of a few hundred
# thousand weights is that of all to three digits.
ROWS = 64


@dataclass(frozen=True, slots=True)
class Error:
    """The relative error of a packed tensor, over ``blocks`` blocks of 16 weights."""

    value: float
    blocks: int

    @property
    def is_normal(self) -> bool:
        """Whether it lies where packing to NVFP4 leaves it; never for NaN."""
        room = SCATTER / sqrt(self.blocks)
        return LOWEST - room < self.value < HIGHEST + room


def relative_error(module: str, body: Body, master: Checkpoint) -> Error:
    """Return |unpacked - master| / |master| of ``module`` over a sample of its rows.

    Raises ValueError when the master's weight is no BF16 matrix of the packed shape, or when
    a tensor of it is missing.
    """
    name = f"{module}.{WEIGHT}"
    tensor = master.locate(name).tensor
    if tensor.dtype != "BF16":
        raise ValueError(f"{name}: {tensor.dtype} in the master, expected BF16")
    rows, columns = nvfp4.check_matrix(name, tensor.shape)
    scheme, packed = body.scheme, body.tree.checkpoint
    leaves = {scheme.codes: columns // 2, scheme.block_scales: columns // nvfp4.GROUP_SIZE}
    for leaf, width in leaves.items():
        found = packed.locate(f"{module}.{leaf}").tensor
        if found.shape != (rows, width):
            raise ValueError(f"{module}.{leaf}: expected {[rows, width]}, got {list(found.shape)}")
    scale = np.frombuffer(packed.read(f"{module}.{scheme.global_scale}"), "<f4")[0]
    scale = np.float32(1) / scale if scheme.reciprocal else scale
    wrong = norm = 0.0
    chosen = sorted({number * (rows - 1) // max(1, ROWS - 1) for number in range(ROWS)})
    for row in chosen:
        codes, scales = (
            np.frombuffer(packed.part(f"{module}.{leaf}", row * width, (row + 1) * width), np.uint8)
            for leaf, width in leaves.items()
        )
        bits = nvfp4.bf16(master.part(name, row * columns * 2, (row + 1) * columns * 2), (columns,))
        weights = nvfp4.bf16_to_f32(bits).astype(np.float64)
        with np.errstate(all="ignore"):
            unpacked = nvfp4.unpack(codes[None], scales[None], scale)[0]
            wrong += float(np.sum((unpacked - weights) ** 2))
        norm += float(np.sum(weights**2))
    value = sqrt(wrong / norm) if norm else float("nan")
    return Error(value, len(chosen) * columns // nvfp4.GROUP_SIZE)
