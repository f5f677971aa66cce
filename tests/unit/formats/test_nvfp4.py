"""Packing against a slow reference, written from the number formats alone."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.formats import nvfp4
from recipes.formats.nvfp4 import PackError

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E4M3 = tuple(
    m * 2.0**-9 if e == 0 else (8 + m) * 2.0 ** (e - 10)
    for e in range(16)
    for m in range(8)
    if (e, m) != (15, 7)
)

# Signs and mantissas at will; exponents within 2^-20 ... 2^20, so that a group has one scale.
patterns = st.builds(
    lambda sign, exponent, mantissa: sign << 15 | exponent << 7 | mantissa,
    st.integers(0, 1),
    st.integers(107, 147),
    st.integers(0, 127),
)
weights = st.integers(1, 3).flatmap(
    lambda blocks: st.lists(
        patterns | st.sampled_from([0, 0x8000]), min_size=blocks * 16, max_size=blocks * 16
    )
)


def nearest(value: float, table: tuple[float, ...]) -> int:
    """Return the index of the nearest table value; on a tie the even index."""
    exact = Fraction(value)
    return min(range(len(table)), key=lambda i: (abs(Fraction(table[i]) - exact), i % 2))


def slow_pack(bits: list[int], scale_2: np.float32) -> tuple[list[int], list[int]]:
    """Pack one row, number by number; return its codes and the bits of its block scales."""
    values = nvfp4.bf16_to_f32(np.array(bits, np.uint16))
    codes: list[int] = []
    scales: list[int] = []
    for start in range(0, len(bits), 16):
        block = values[start : start + 16]
        ratio = np.float32(np.abs(block).max() / np.float32(np.float32(6) * scale_2)) or np.float32(1)
        scales.append(nearest(min(max(float(ratio), 2.0**-9), 448.0), E4M3))
        step = np.float32(np.float32(E4M3[scales[-1]]) * scale_2)
        for value in block:
            scaled = np.float32(value / step)
            codes.append(nearest(abs(float(scaled)), E2M1) | (8 if scaled < 0 else 0))
    return codes, scales


@given(weights)
@settings(max_examples=60, deadline=None)
def test_packing_is_the_slow_reference_bit_for_bit(bits: list[int]) -> None:
    row = np.array([bits], np.uint16)
    if not (row & 0x7FFF).any():
        return
    scale_2 = nvfp4.global_scale([("w", row)])
    packed = nvfp4.pack("w", row, scale_2)
    codes, scales = slow_pack(bits, scale_2)
    assert packed.scales[0].tolist() == scales
    assert packed.codes[0].tolist() == [a | b << 4 for a, b in zip(codes[::2], codes[1::2], strict=True)]


@given(weights)
@settings(max_examples=60, deadline=None)
def test_unpacked_weights_are_codes_times_scales(bits: list[int]) -> None:
    row = np.array([bits], np.uint16)
    packed = nvfp4.pack("w", row, np.float32(0.001))
    values = nvfp4.unpack(packed.codes, packed.scales, np.float32(0.001))
    codes, scales = slow_pack(bits, np.float32(0.001))
    signed = [-E2M1[c & 7] if c & 8 else E2M1[c] for c in codes]
    steps = np.repeat(np.array([E4M3[s] for s in scales], np.float32) * np.float32(0.001), 16)
    assert np.array_equal(values[0], np.array(signed, np.float32) * steps)


@given(st.floats(2.0**-9, 448.0, width=32))
def test_e4m3_rounds_half_to_even(value: float) -> None:
    assert int(nvfp4.f32_to_e4m3(np.array([value], np.float32))[0]) == nearest(value, E4M3)


def test_e4m3_holds_every_tie_and_every_value() -> None:
    exact = np.array(E4M3[1:], np.float32)
    assert nvfp4.f32_to_e4m3(exact).tolist() == list(range(1, 127))
    ties = (exact[:-1] + exact[1:]) / np.float32(2)
    assert nvfp4.f32_to_e4m3(ties).tolist() == [i + i % 2 for i in range(1, 126)]
    assert nvfp4.e4m3_to_f32(np.arange(127, dtype=np.uint8)).tolist() == list(E4M3)
    assert math.isnan(nvfp4.e4m3_to_f32(np.array([0x7F], np.uint8))[0])


def test_every_tie_goes_to_the_even_code_and_minus_zero_to_zero() -> None:
    # The block's largest weight is 6 and the scale 1, so weights are codes' values.
    ties = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5.0, -0.0, 6.0]
    row = nvfp4.f32_to_bf16(np.array([ties], np.float32))
    packed = nvfp4.pack("w", row, np.float32(1))
    codes = np.stack((packed.codes & 15, packed.codes >> 4), -1).reshape(-1)
    assert codes.tolist() == [0, 2, 2, 4, 4, 6, 6, 8, 10, 10, 12, 12, 14, 14, 0, 7]


def test_a_block_of_zeros_gets_scale_one() -> None:
    row = np.zeros((1, 32), np.uint16)
    row[0, 20] = 0x3F80
    packed = nvfp4.pack("w", row, nvfp4.global_scale([("w", row)]))
    assert packed.scales.tolist() == [[0x38, 0x7E]]
    assert packed.codes[0, :8].tolist() == [0] * 8


def test_members_of_a_fused_group_share_the_larger_scale() -> None:
    small, large = (np.full((1, 16), bits, np.uint16) for bits in (0x3F80, 0xC000))
    assert nvfp4.global_scale([("a", small), ("b", large)]) == np.float32(2) / np.float32(2688)
    assert nvfp4.input_scale(np.float32(672)) == np.float32(0.25)


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0, 0xFFFF])
def test_nan_and_infinity_are_refused_by_name(bits: int) -> None:
    row = np.full((1, 16), 0x3F80, np.uint16)
    row[0, 3] = bits
    with pytest.raises(PackError, match=r"layers\.0\.w: expected finite"):
        nvfp4.global_scale([("v", np.full((1, 16), 0x3F80, np.uint16)), ("layers.0.w", row)])


@pytest.mark.parametrize("bits", [0, 0x8000, 1])
def test_a_group_without_a_scale_is_refused_by_name(bits: int) -> None:
    with pytest.raises(PackError, match=r"layers\.0\.w"):
        nvfp4.global_scale([("layers.0.w", np.full((1, 16), bits, np.uint16))])


def test_a_tensor_of_zeros_is_refused_though_its_group_has_a_scale() -> None:
    one, zeros = np.full((1, 16), 0x3F80, np.uint16), np.full((1, 16), 0x8000, np.uint16)
    with pytest.raises(PackError, match=r"^layers\.0\.w: all weights are zero"):
        nvfp4.global_scale([("v", one), ("layers.0.w", zeros)])


@pytest.mark.parametrize("shape", [(16,), (2, 24), (0, 16), (2, 16, 16)])
def test_a_shape_without_blocks_is_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(PackError, match=r"layers\.0\.w: expected \[out, in\]"):
        nvfp4.pack("layers.0.w", np.full(shape, 0x3F80, np.uint16), np.float32(1))


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    row = nvfp4.f32_to_bf16(np.random.default_rng(0).standard_normal((7, 32)).astype(np.float32))
    whole = nvfp4.pack("w", row, np.float32(0.001))
    monkeypatch.setattr(nvfp4, "_PIECE", 64)
    pieces = nvfp4.pack("w", row, np.float32(0.001))
    assert np.array_equal(whole.codes, pieces.codes) and np.array_equal(whole.scales, pieces.scales)


@given(st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7FFF < 0x7F80))
def test_bf16_survives_the_way_through_float32(bits: int) -> None:
    row = np.array([bits], np.uint16)
    assert nvfp4.f32_to_bf16(nvfp4.bf16_to_f32(row)).tolist() == [bits]
