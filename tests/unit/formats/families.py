"""Families of weights in which a packer's mistakes show; numpy alone, so that every environment has them."""

import numpy as np

from recipes.formats import nvfp4

TIES = [s * t for s in (-1, 1) for t in (0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, 112, 224, 448)]
# BF16 exponents, biased by 127; 0 holds the subnormals.
EXPONENTS = [(0, 14), (0, 40), (20, 30), (100, 140), (120, 127), (200, 254)]


def families() -> dict[str, nvfp4.U16]:
    """Return named BF16 matrices: random, ties, zeros and -0, subnormals, every finite pattern."""
    random = np.random.default_rng(0)
    normal = nvfp4.f32_to_bf16((random.standard_normal((96, 512)) * 0.02).astype(np.float32))
    ties = nvfp4.f32_to_bf16(random.choice(np.array(TIES, np.float32), (64, 256)))
    ties[:, 0] = nvfp4.f32_to_bf16(np.array([6 * 448], np.float32))[0]
    holes = np.where(random.random(normal.shape) < 0.5, normal & 0x8000, normal).astype(np.uint16)
    holes[:, 32:64] = 0
    spread = {f"exponents {low} to {high}": _spread(random, low, high) for low, high in EXPONENTS}
    return {
        "random": normal,
        "ties": ties,
        "zeros": holes,
        "every": every_pattern(),
        "every, small": every_pattern() & np.uint16(0xBFFF),
        "one block": normal[:1, :16].copy(),
        "rows of odd blocks": normal[:7, : 16 * 13].copy(),
        **spread,
    }


def every_pattern() -> nvfp4.U16:
    """Return a matrix [128, 512] that holds every finite BF16 pattern."""
    patterns = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    return np.resize(patterns[(patterns & 0x7FFF) < 0x7F80], (128, 512))


def _spread(random: np.random.Generator, low: int, high: int) -> nvfp4.U16:
    exponents = random.integers(low, high + 1, (64, 256)).astype(np.uint16) << np.uint16(7)
    signs = random.integers(0, 2, (64, 256)).astype(np.uint16) << np.uint16(15)
    return exponents | random.integers(0, 0x80, exponents.shape).astype(np.uint16) | signs
