"""The GPU kernel, in Triton: for weights that are on a GPU, or on a machine that has one.

    scale_2 = float(nvfp4.scale_of_peaks({name: peak(weight)}))
    codes, scales = pack(weight, scale_2)

Same operations as ``nvfp4.pack_blocks``; what is written another way is equal by proof:

- Two BF16 weights travel in one 32-bit word. One thread holds a block, so nothing is
  exchanged between threads and every load is 16 bytes.
- Division: with r = RN(1/d), q0 = RN(x * r) and the exact remainder x - q0 * d, the sum
  RN(q0 + remainder * r) is RN(x / d) for all 2^7 significands of a BF16 x and all 2^23 of
  an fp32 d. All pairs were tried, and a test tries them again. Significands decide alone
  while nothing over- or underflows, which ``EXACT_SCALES`` sees to; outside of it every
  weight is divided.
- e2m1 is piecewise linear with steps of 1/2 to 2, 1 to 4 and 2 to 6, so rounding to it
  half to even is the least of three such roundings, and of 7. Adding 1.5 * 2^23 rounds an
  fp32 to an integer, half to even, in its low bits.
"""

import threading

import numpy as np
import torch
import triton
import triton.language as tl

from recipes.formats import nvfp4
from recipes.formats.nvfp4 import U8, U16

# Below 2^7, no quotient of the smallest weight (2^-133) and the largest step (448 * 2^7)
# falls under the smallest fp32 (2^-149). Above 2^-60, remainders of weights that do not
# round to zero stay normal.
EXACT_SCALES = (2.0**-60, 2.0**7)
BLOCKS = 128  # a program: one block a thread in four warps
# All programs of a peak meet at one word: a long way before it keeps them from waiting there.
PEAK_WORDS, PEAK_TURNS = 4096, 16


def peak(weight: torch.Tensor) -> int:
    """Return the largest |weight| of a contiguous BF16 tensor on a GPU, as BF16 bits."""
    words = weight.view(torch.int32).reshape(-1)
    top = torch.zeros(1, dtype=torch.int32, device=weight.device)
    programs = triton.cdiv(words.numel(), PEAK_WORDS * PEAK_TURNS)
    _peak[(programs,)](words, top, words.numel(), width=PEAK_WORDS, turns=PEAK_TURNS, num_warps=8)
    return int(top.item())


def pack(
    weight: torch.Tensor, scale_2: float, *, exact_division: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pack contiguous BF16 ``weight`` [..., in] under the fused group's own ``scale_2``.

    Returns uint8 codes [..., in / 2] and e4m3 bits as uint8 [..., in / 16]. With
    ``exact_division`` every weight is divided, whatever the scale.
    """
    *outer, columns = weight.shape
    words = weight.view(torch.int32)
    codes = torch.empty((*outer, columns // 2), dtype=torch.uint8, device=weight.device)
    scales = torch.empty((*outer, columns // nvfp4.GROUP_SIZE), dtype=torch.uint8, device=weight.device)
    low, high = EXACT_SCALES
    _pack[(triton.cdiv(scales.numel(), BLOCKS),)](
        words,
        scale_2,
        codes,
        scales,
        scales.numel(),
        width=BLOCKS,
        by_inverse=low <= scale_2 <= high and not exact_division,
        num_warps=4,
        enable_fp_fusion=False,
    )
    return codes, scales


class GpuKernel:
    """The kernel for weights in host memory: each call sends its blocks over and back."""

    name = "triton"

    def __init__(self) -> None:
        self._compiling = threading.Lock()
        self._compiled = False

    def peak(self, weight: U16) -> int:
        """Return the largest |weight| as BF16 bits, taken where the bytes are."""
        return nvfp4.peak(weight)

    def pack(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        """Pack whole blocks."""
        if self._compiled:
            self._send(weight, scale_2, codes, scales)
            return
        with self._compiling:
            self._send(weight, scale_2, codes, scales)
            self._compiled = True

    def _send(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        sent = torch.from_numpy(weight.view(np.int16)).to("cuda").view(torch.bfloat16)
        packed, steps = pack(sent, float(scale_2))
        codes[:] = packed.cpu().numpy()
        scales[:] = steps.cpu().numpy()


@triton.jit
def _peak(
    words: tl.tensor, top: tl.tensor, count: tl.tensor, width: tl.constexpr, turns: tl.constexpr
) -> None:
    at = tl.program_id(0).to(tl.int64) * (width * turns) + tl.arange(0, width)
    largest = tl.zeros((width,), dtype=tl.int32)
    for _ in range(turns):
        size = tl.load(words + at, mask=at < count, other=0) & 0x7FFF7FFF
        largest = tl.maximum(largest, tl.maximum(size & 0xFFFF, size >> 16))
        at += width
    tl.atomic_max(top, tl.max(largest, axis=0))


@triton.jit
def _pack(
    words: tl.tensor,
    scale_2: tl.tensor,
    codes: tl.tensor,
    scales: tl.tensor,
    blocks: tl.tensor,
    width: tl.constexpr,
    by_inverse: tl.constexpr,
) -> None:
    block = tl.program_id(0).to(tl.int64) * width + tl.arange(0, width)
    inside = block < blocks
    at = block[:, None] * 8 + tl.arange(0, 8)[None, :]
    pair = tl.load(words + at, mask=inside[:, None], other=0)
    size = pair & 0x7FFF7FFF
    even, odd = size << 16, size & 0x7FFF0000
    peaks = tl.max(tl.maximum(even, odd), axis=1).to(tl.float32, bitcast=True)
    scale = _e4m3(tl.math.div_rn(peaks, scale_2 * 6.0))
    step = (_e4m3_value(scale) * scale_2)[:, None]
    even_ratio = _divide(even.to(tl.float32, bitcast=True), step, by_inverse)
    odd_ratio = _divide(odd.to(tl.float32, bitcast=True), step, by_inverse)
    # What is 0, or becomes 0 when divided, has no sign.
    if by_inverse:
        negative = (size + 0x7FFF7FFF) & pair  # carries into the sign bit unless the size is 0
    else:
        of_even = tl.where(even_ratio > 0, pair & 0x8000, 0)
        negative = of_even | tl.where(odd_ratio > 0, pair & -0x80000000, 0)
    byte = _e2m1(even_ratio) | (_e2m1(odd_ratio) << 4) | ((negative >> 12) & 0x08) | ((negative >> 24) & 0x80)
    tl.store(codes + at, byte.to(tl.uint8), mask=inside[:, None])
    tl.store(scales + block, scale.to(tl.uint8), mask=inside)


@triton.jit
def _divide(size: tl.tensor, step: tl.tensor, by_inverse: tl.constexpr) -> tl.tensor:
    if by_inverse:
        inverse = tl.math.div_rn(1.0, step)
        guess = size * inverse
        return tl.math.fma(tl.math.fma(-guess, step, size), inverse, guess)
    return tl.math.div_rn(size, tl.broadcast_to(step, size.shape))


@triton.jit
def _e2m1(size: tl.tensor) -> tl.tensor:
    halves = tl.math.fma(size, 2.0, 12582912.0)  # 1.5 * 2^23; both products are exact
    ones = size + 12582914.0
    twos = tl.math.fma(size, 0.5, 12582916.0)
    least = tl.minimum(tl.minimum(halves, ones), tl.minimum(twos, 12582919.0))
    return least.to(tl.int32, bitcast=True) & 7


@triton.jit
def _e4m3(ratio: tl.tensor) -> tl.tensor:
    ratio = tl.where(ratio == 0, 1.0, tl.minimum(tl.maximum(ratio, 0.001953125), 448.0))
    bits = ratio.to(tl.int32, bitcast=True)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - 960  # bias 127 to 7
    subnormal = (ratio + 16384.0).to(tl.int32, bitcast=True) - 0x46800000  # steps of 2^-9
    return tl.where(ratio < 0.015625, subnormal, normal)


@triton.jit
def _e4m3_value(bits: tl.tensor) -> tl.tensor:
    normal = ((bits << 20) + (120 << 23)).to(tl.float32, bitcast=True)
    return tl.where(bits < 8, bits.to(tl.float32) * 0.001953125, normal)
