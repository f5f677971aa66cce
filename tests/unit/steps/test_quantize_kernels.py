"""The kernels are the reference bit for bit; what the GPU's writes another way is equal by proof."""

import ctypes
import json
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings

from recipes.formats import nvfp4
from recipes.steps.quantize.kernels import kernel as kernels
from recipes.steps.quantize.kernels.cpu import CpuKernel
from recipes.steps.quantize.kernels.kernel import Kernel, NumpyKernel
from tests.unit.formats.families import every_pattern, families
from tests.unit.formats.test_against_engines import reference
from tests.unit.formats.test_nvfp4 import slow_pack, weights

KERNELS: list[Kernel] = [NumpyKernel(), CpuKernel()]
BY_NAME = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


def pack(kernel: Kernel, bits: nvfp4.U16, scale_2: np.float32) -> tuple[nvfp4.U8, nvfp4.U8]:
    """Pack into memory that is not zero, so that what a kernel leaves out shows."""
    codes, scales = np.full(bits.size // 2, 0xEE, np.uint8), np.full(bits.size // 16, 0xEE, np.uint8)
    kernel.pack(bits.reshape(-1), scale_2, codes, scales)
    return codes, scales


@BY_NAME
@given(bits=weights)
@settings(max_examples=60, deadline=None)
def test_a_kernel_is_the_slow_reference_bit_for_bit(kernel: Kernel, bits: list[int]) -> None:
    row = np.array(bits, np.uint16)
    if not (row & 0x7FFF).any():
        return
    scale_2 = nvfp4.scale_of_peaks({"w": kernel.peak(row)})
    codes, scales = pack(kernel, row, scale_2)
    slow_codes, slow_scales = slow_pack(bits, scale_2)
    assert scales.tolist() == slow_scales
    assert codes.tolist() == [a | b << 4 for a, b in zip(slow_codes[::2], slow_codes[1::2], strict=True)]


@pytest.mark.parametrize("family", families())
def test_the_compiled_kernel_is_numpys_on_every_family(family: str) -> None:
    bits = families()[family]
    numpy, compiled = KERNELS
    scale_2 = nvfp4.global_scale([("w", bits)])
    assert compiled.peak(bits.reshape(-1)) == numpy.peak(bits.reshape(-1))
    # A fused group's scale may come from another member, up to any size.
    for scale in (scale_2, np.float32(min(float(scale_2) * 37.7, 1e35))):
        for ours, theirs in zip(pack(compiled, bits, scale), pack(numpy, bits, scale), strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("scale_2", [2.0**-126, 1e-30, 1.0, 1e30])
def test_the_compiled_kernel_is_numpys_on_every_pattern_under_any_scale(scale_2: float) -> None:
    # Quotients that overflow are beyond a group's own scale; numpy would warn of them.
    numpy, compiled = KERNELS
    with np.errstate(over="ignore"):
        theirs = pack(numpy, every_pattern(), np.float32(scale_2))
    ours = pack(compiled, every_pattern(), np.float32(scale_2))
    assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("blocks", [1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200])
def test_no_number_of_blocks_is_special(blocks: int) -> None:
    bits = np.resize(families()["random"].reshape(-1), blocks * 16 + 16)
    numpy, compiled = KERNELS
    for ours, theirs in zip(
        pack(compiled, bits[:-16], np.float32(1e-4)), pack(numpy, bits[:-16], np.float32(1e-4)), strict=True
    ):
        assert np.array_equal(ours, theirs)
    for position in (0, bits.size - 17):
        marked = np.zeros_like(bits)
        marked[position], marked[-1] = 0x8123, 0x7F80
        assert compiled.peak(marked[:-16]) == 0x0123


def test_a_compiled_kernel_takes_no_memory_that_it_would_run_out_of() -> None:
    bits, codes, scales = np.zeros(32, np.uint16), np.zeros(16, np.uint8), np.zeros(2, np.uint8)
    compiled = CpuKernel()
    for weight, out, steps in (
        (bits[:24], codes[:12], scales),
        (bits, codes[:15], scales),
        (bits, codes, scales[:1]),
        (bits[::2], codes[:8], scales[:1]),
    ):
        with pytest.raises(ValueError, match="contiguous items"):
            compiled.pack(weight, np.float32(1), out, steps)


def test_a_small_body_does_not_wait_for_a_compiler() -> None:
    assert kernels.choose(1 << 20, gpu=True).name == "numpy"
    assert kernels.choose(1 << 30, gpu=False).name == "llvm"


def test_nobody_asks_for_a_gpu_and_torch_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it would raise
    assert kernels.choose(1 << 30).name == "llvm"


def test_dividing_by_the_inverse_is_dividing_for_every_pair_of_significands() -> None:
    # What the GPU's kernel rests on: 2^7 significands of BF16 times 2^23 of fp32, all tried.
    engine = _compile(BY_INVERSE)
    count = ctypes.CFUNCTYPE(ctypes.c_int64)(engine.get_function_address("differences"))
    assert count() == 0


def test_rounding_to_e2m1_is_the_least_of_three_roundings() -> None:
    size = np.arange(0, 16, 2.0**-12, dtype=np.float32)
    codes = [(size * s + m).view(np.uint32) for s, m in ((2, ONES), (1, ONES + 2), (0.5, ONES + 4))]
    least = np.minimum.reduce([*codes, np.full(size.shape, ONES + 7, np.float32).view(np.uint32)])
    block = np.array([6.0] * 16, np.float32)
    exact = [slow_pack_one(value, block) for value in size[:: 1 << 4]]
    assert (least[:: 1 << 4] & 7).tolist() == exact


def slow_pack_one(value: np.float32, block: np.ndarray[tuple[int], np.dtype[np.float32]]) -> int:
    """Return the code of ``value`` under scale 1."""
    table = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    return min(range(8), key=lambda i: (abs(table[i] - float(value)), i % 2))


@pytest.mark.env
def test_the_gpu_kernel_compiles_to_ieee_operations_alone(quantize_python: Path) -> None:
    found = json.loads(reference(quantize_python, "reference_ptx"))
    assert set(found) == {"sm_90 divided", "sm_90 by inverse", "sm_121 divided", "sm_121 by inverse"}
    for name, operations in found.items():
        assert set(operations) <= IEEE, name
        assert "div.rn.f32" in operations, name
        assert ("fma.rn.f32" in operations) or "divided" in name


IEEE = {f"{op}.rn.f32" for op in ("add", "sub", "mul", "fma", "div")} | {"min.f32", "max.f32", "neg.f32"}
ONES = np.float32(1.5 * 2**23)
BY_INVERSE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)

define i64 @differences() {
entry:
  br label %weight
weight:
  %m = phi i32 [128, %entry], [%m.next, %weight.end]
  %bad.before = phi i64 [0, %entry], [%bad.next, %weight.end]
  %m.float = uitofp i32 %m to float
  %x.0 = insertelement <16 x float> poison, float %m.float, i64 0
  %x = shufflevector <16 x float> %x.0, <16 x float> poison, <16 x i32> zeroinitializer
  br label %step
step:
  %k = phi i32 [1065353216, %weight], [%k.next, %step]
  %bad = phi i64 [%bad.before, %weight], [%bad.next, %step]
  %k.0 = insertelement <16 x i32> poison, i32 %k, i64 0
  %k.v = shufflevector <16 x i32> %k.0, <16 x i32> poison, <16 x i32> zeroinitializer
  %bits = or <16 x i32> %k.v, <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7,
                               i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %d = bitcast <16 x i32> %bits to <16 x float>
  %inverse = fdiv <16 x float> splat (float 1.0), %d
  %quotient = fdiv <16 x float> %x, %d
  %guess = fmul <16 x float> %x, %inverse
  %minus = fneg <16 x float> %guess
  %rest = call <16 x float> @llvm.fma.v16f32(<16 x float> %minus, <16 x float> %d, <16 x float> %x)
  %ours = call <16 x float> @llvm.fma.v16f32(<16 x float> %rest, <16 x float> %inverse, <16 x float> %guess)
  %differs = fcmp une <16 x float> %ours, %quotient
  %mask = bitcast <16 x i1> %differs to i16
  %one = zext i16 %mask to i64
  %bad.next = add i64 %bad, %one
  %k.next = add i32 %k, 16
  %k.more = icmp ult i32 %k.next, 1073741824
  br i1 %k.more, label %step, label %weight.end
weight.end:
  %m.next = add i32 %m, 1
  %m.more = icmp ult i32 %m.next, 256
  br i1 %m.more, label %weight, label %exit
exit:
  ret i64 %bad.next
}
"""


def _compile(text: str) -> llvm.ExecutionEngine:
    module = llvm.parse_assembly(text)
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
