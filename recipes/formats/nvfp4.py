"""NVFP4 as modelopt lays it out: 4-bit codes, an e4m3 scale per 16, an fp32 scale per group.

A Linear ``X`` with BF16 weight W [out, in] becomes four tensors:

    X.weight          U8       [out, in/2]   two e2m1 codes a byte, even column low
    X.weight_scale    F8_E4M3  [out, in/16]  one a block of 16 columns
    X.weight_scale_2  F32      []            one a fused group
    X.input_scale     F32      []            one a fused group, from calibration

    s2   = max over the fused group |W| / (6 * 448)
    s8   = e4m3(clamp(blockmax / (6 * s2), 2^-9, 448)), 1 for a block of zeros
    code = e2m1(W / (float(s8) * s2)), rounded half to even, -0 when a negative rounds to 0

Every product and quotient is one IEEE fp32 operation in the order written, which makes
the bytes the same as those of modelopt 0.47 ``NVFP4QTensor.quantize``. BF16 travels as
uint16 bit patterns; numpy has no BF16.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GROUP_SIZE = 16
E2M1_MAX = 6.0
E4M3_MAX = 448.0
E4M3_MIN = 2.0**-9
SCALE_RANGE = E2M1_MAX * E4M3_MAX

WEIGHT = "weight"
WEIGHT_SCALE = "weight_scale"
WEIGHT_SCALE_2 = "weight_scale_2"
INPUT_SCALE = "input_scale"
DTYPES = {WEIGHT: "U8", WEIGHT_SCALE: "F8_E4M3", WEIGHT_SCALE_2: "F32", INPUT_SCALE: "F32"}

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)

_SIGNLESS = 0x7FFF
_BF16_INF = 0x7F80
# Blocks are packed in pieces of this many weights, so that temporaries stay in cache.
_PIECE = 1 << 17

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]


class PackError(ValueError):
    """A weight that NVFP4 cannot hold; names the tensor."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed weight: ``codes`` uint8 [out, in/2] and ``scales`` e4m3 bits uint8 [out, in/16]."""

    codes: U8
    scales: U8


def shapes(out_features: int, in_features: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the four tensors of a Linear with weight [out, in]."""
    return {
        WEIGHT: (out_features, in_features // 2),
        WEIGHT_SCALE: (out_features, in_features // GROUP_SIZE),
        WEIGHT_SCALE_2: (),
        INPUT_SCALE: (),
    }


def bf16(data: bytes, shape: tuple[int, ...]) -> U16:
    """Return raw BF16 bytes as bit patterns of ``shape``, without a copy."""
    return np.frombuffer(data, np.dtype("<u2")).reshape(shape)


def bf16_to_f32(bits: U16) -> F32:
    """Widen BF16 bit patterns to float32, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def f32_to_bf16(values: F32) -> U16:
    """Round finite float32 to BF16 bit patterns, half to even."""
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)


def peak(weight: U16) -> int:
    """Return the largest |weight| as BF16 bits; at least 0x7F80 when one is NaN or infinite."""
    return int((weight & np.uint16(_SIGNLESS)).max(initial=0))


def global_scale(weights: Iterable[tuple[str, U16]]) -> np.float32:
    """Return weight_scale_2 of a fused group from (tensor name, BF16 bits); see ``scale_of_peaks``."""
    return scale_of_peaks({name: peak(bits) for name, bits in weights})


def scale_of_peaks(peaks: Mapping[str, int]) -> np.float32:
    """Return weight_scale_2 of a fused group: max |W| / (6 * 448) over its members.

    ``peaks`` is tensor name → ``peak`` of its weights. Raises PackError, naming the tensor,
    for NaN or infinity, for a tensor of zeros, and for weights too small for an fp32 scale.
    """
    for name, top in peaks.items():
        if top >= _BF16_INF:
            raise PackError(f"{name}: expected finite weights, got NaN or infinity")
        if top == 0:
            raise PackError(f"{name}: all weights are zero, so no scale can be formed")
    amax = bf16_to_f32(np.array([max(peaks.values())], np.uint16))[0]
    scale = np.float32(amax / np.float32(SCALE_RANGE))
    if scale < np.finfo(np.float32).tiny:
        raise PackError(f"{', '.join(peaks)}: the largest weight, {amax}, is too small for an fp32 scale")
    return scale


def input_scale(amax: np.float32) -> np.float32:
    """Return input_scale for the largest absolute activation of a fused group: amax / (6 * 448)."""
    return np.float32(np.float32(amax) / np.float32(SCALE_RANGE))


def check_matrix(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return ``shape`` as (out, in).

    Raises PackError, naming the tensor, when it is no matrix whose ``in`` divides by 16.
    """
    if len(shape) != 2 or shape[1] % GROUP_SIZE or 0 in shape:
        wanted = f"[out, in] with in a multiple of {GROUP_SIZE}"
        raise PackError(f"{name}: expected {wanted}, got {list(shape)}")
    return shape[0], shape[1]


def pack(name: str, weight: U16, scale_2: np.float32) -> Packed:
    """Pack BF16 bits ``weight`` [out, in] under the fused group's ``scale_2``.

    Raises PackError, naming the tensor, when it is not a matrix whose ``in`` divides by 16.
    """
    rows, columns = check_matrix(name, weight.shape)
    codes = np.empty((rows, columns // 2), np.uint8)
    scales = np.empty((rows, columns // GROUP_SIZE), np.uint8)
    pack_blocks(weight.reshape(-1), scale_2, codes.reshape(-1), scales.reshape(-1))
    return Packed(codes, scales)


def pack_blocks(weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
    """Pack BF16 bits ``weight`` [16 * n] into ``codes`` [8 * n] and ``scales`` [n].

    Blocks never span rows, so a matrix is packed as the flat sequence that it is in memory.
    """
    for start in range(0, weight.size, _PIECE):
        end = min(start + _PIECE, weight.size)
        blocks = weight[start:end].reshape(-1, GROUP_SIZE)
        packed, steps = _pack_piece(blocks, scale_2)
        codes[start // 2 : end // 2] = packed
        scales[start // GROUP_SIZE : end // GROUP_SIZE] = steps


def unpack(codes: U8, scales: U8, scale_2: np.float32) -> F32:
    """Return the weights float32 [out, in] that an engine computes with: E2M1 * (s8 * s2)."""
    nibbles = np.stack((codes & np.uint8(15), codes >> np.uint8(4)), axis=-1)
    values = E2M1[nibbles].reshape(codes.shape[0], -1, GROUP_SIZE)
    steps = e4m3_to_f32(scales) * np.float32(scale_2)
    return (values * steps[..., None]).reshape(codes.shape[0], -1)


def f32_to_e4m3(values: F32) -> U8:
    """Round float32 in [2^-9, 448] to e4m3fn bits, half to even.

    Normal numbers drop 20 mantissa bits and change the exponent's bias from 127 to 7;
    below 2^-6 the format counts in steps of 2^-9.
    """
    bits = values.view(np.uint32)
    odd = (bits >> np.uint32(20)) & np.uint32(1)
    normal = ((bits + np.uint32(0x7FFFF) + odd) >> np.uint32(20)) - np.uint32(120 << 3)
    subnormal = np.rint(values * np.float32(512))
    return np.where(values < np.float32(2.0**-6), subnormal, normal).astype(np.uint8)


def e4m3_to_f32(bits: U8) -> F32:
    """Widen e4m3fn bits to float32, exactly; 0x7F and 0xFF are NaN."""
    return _E4M3[bits]


def _pack_piece(blocks: U16, scale_2: np.float32) -> tuple[U8, U8]:
    peaks = bf16_to_f32((blocks & np.uint16(_SIGNLESS)).max(axis=-1))
    ratio = peaks / (np.float32(E2M1_MAX) * scale_2)
    ratio[ratio == 0] = 1
    scales = f32_to_e4m3(np.clip(ratio, np.float32(E4M3_MIN), np.float32(E4M3_MAX)))
    steps = e4m3_to_f32(scales) * scale_2
    codes = _e2m1(bf16_to_f32(blocks) / steps[:, None]).reshape(-1)
    return codes[0::2] | codes[1::2] << np.uint8(4), scales


def _e2m1(values: F32) -> U8:
    """Round float32 to e2m1 codes: the number of midpoints below |value|, ties to the even code."""
    size = np.abs(values)
    codes = (size > np.float32(0.25)).view(np.uint8)
    for midpoint, up_on_tie in (
        (0.75, True),
        (1.25, False),
        (1.75, True),
        (2.5, False),
        (3.5, True),
        (5, False),
    ):
        above = size >= np.float32(midpoint) if up_on_tie else size > np.float32(midpoint)
        codes += above.view(np.uint8)
    return codes | (values < 0).view(np.uint8) << np.uint8(3)


def _e4m3_table() -> F32:
    bits = np.arange(256)
    exponent, mantissa = (bits >> 3) & 15, bits & 7
    size = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    size[(bits & 127) == 127] = np.nan
    return np.where(bits < 128, size, -size).astype(np.float32)


_E4M3 = _e4m3_table()
