"""The CPU kernel: vector code in LLVM's own language, compiled for this CPU in 30 ms.

Why not numba or C: numba takes 2 to 3 seconds to load and compile in every run, since an
environment is read-only and keeps no cache, and this kernel packs 15 GB in that time; C
needs a compiler wherever an image is built. llvmlite is numba's well-kept lower half: one
wheel in the image's lock. The vectors below are of no particular CPU; LLVM maps them to
AVX-512, AVX2 or NEON.

The steps are those of ``nvfp4.pack_blocks``, in the same order: every ``fdiv``, ``fmul``
and ``fadd`` is one IEEE fp32 operation (no fast-math flag stands anywhere). A strip of 64
blocks goes through three loops while it is in the first-level cache:

    peak    the largest of each block, as BF16 bits
    scale   16 blocks at once: ratio → e4m3 byte → the step that the block counts in
    code    weight / step → e2m1, two codes a byte

Rounding is half to even in both formats and takes no table. Adding 1.5 * 2^23 rounds an
fp32 to an integer in its low bits; that serves e2m1, which is piecewise linear, and adding
2^14 likewise serves the numbers of e4m3 below 2^-6. Above, e4m3 drops 20 mantissa bits.
"""

import ctypes
import threading

import llvmlite.binding as llvm
import numpy as np

from recipes.formats.nvfp4 import GROUP_SIZE, U8, U16

MODULE = """
declare i16 @llvm.vector.reduce.umax.v16i16(<16 x i16>)
declare i16 @llvm.vector.reduce.umax.v64i16(<64 x i16>)
declare <64 x i16> @llvm.umax.v64i16(<64 x i16>, <64 x i16>)
declare <16 x i32> @llvm.umin.v16i32(<16 x i32>, <16 x i32>)
declare i16 @llvm.umax.i16(i16, i16)
declare i64 @llvm.umin.i64(i64, i64)

define i16 @peak(ptr %weight, i64 %blocks) {
entry:
  %fours = lshr i64 %blocks, 2
  %first = shl i64 %fours, 2
  br label %four
four:
  %i = phi i64 [0, %entry], [%i.next, %four.body]
  %top = phi <64 x i16> [zeroinitializer, %entry], [%top.next, %four.body]
  %i.more = icmp ult i64 %i, %fours
  br i1 %i.more, label %four.body, label %reduce
four.body:
  %i.at = getelementptr <64 x i16>, ptr %weight, i64 %i
  %i.weight = load <64 x i16>, ptr %i.at, align 2
  %i.size = and <64 x i16> %i.weight, splat (i16 32767)
  %top.next = call <64 x i16> @llvm.umax.v64i16(<64 x i16> %top, <64 x i16> %i.size)
  %i.next = add i64 %i, 1
  br label %four
reduce:
  %top.one = call i16 @llvm.vector.reduce.umax.v64i16(<64 x i16> %top)
  br label %one
one:
  %j = phi i64 [%first, %reduce], [%j.next, %one.body]
  %best = phi i16 [%top.one, %reduce], [%best.next, %one.body]
  %j.more = icmp ult i64 %j, %blocks
  br i1 %j.more, label %one.body, label %exit
one.body:
  %j.at = getelementptr <16 x i16>, ptr %weight, i64 %j
  %j.weight = load <16 x i16>, ptr %j.at, align 2
  %j.size = and <16 x i16> %j.weight, splat (i16 32767)
  %j.peak = call i16 @llvm.vector.reduce.umax.v16i16(<16 x i16> %j.size)
  %best.next = call i16 @llvm.umax.i16(i16 %best, i16 %j.peak)
  %j.next = add i64 %j, 1
  br label %one
exit:
  ret i16 %best
}

define void @pack(ptr %weight, i64 %blocks, float %scale_2, ptr %codes, ptr %scales) {
entry:
  %peaks = alloca [64 x i16], align 64
  %bytes = alloca [64 x i8], align 64
  %steps = alloca [64 x float], align 64
  store [64 x i16] zeroinitializer, ptr %peaks  ; the last vector of a short strip reads past it
  %unit = fmul float %scale_2, 6.0
  %unit.0 = insertelement <16 x float> poison, float %unit, i64 0
  %unit.v = shufflevector <16 x float> %unit.0, <16 x float> poison, <16 x i32> zeroinitializer
  %scale_2.0 = insertelement <16 x float> poison, float %scale_2, i64 0
  %scale_2.v = shufflevector <16 x float> %scale_2.0, <16 x float> poison, <16 x i32> zeroinitializer
  br label %strip
strip:
  %done = phi i64 [0, %entry], [%done.next, %strip.end]
  %left = sub i64 %blocks, %done
  %count = call i64 @llvm.umin.i64(i64 %left, i64 64)
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %exit, label %peak

peak:
  %i = phi i64 [0, %strip], [%i.next, %peak]
  %i.block = add i64 %done, %i
  %i.at = getelementptr <16 x i16>, ptr %weight, i64 %i.block
  %i.weight = load <16 x i16>, ptr %i.at, align 2
  %i.size = and <16 x i16> %i.weight, splat (i16 32767)
  %i.peak = call i16 @llvm.vector.reduce.umax.v16i16(<16 x i16> %i.size)
  %i.out = getelementptr i16, ptr %peaks, i64 %i
  store i16 %i.peak, ptr %i.out
  %i.next = add i64 %i, 1
  %i.more = icmp ult i64 %i.next, %count
  br i1 %i.more, label %peak, label %scale

scale:
  %j = phi i64 [0, %peak], [%j.next, %scale]
  %j.at = getelementptr i16, ptr %peaks, i64 %j
  %j.bf16 = load <16 x i16>, ptr %j.at, align 32
  %j.wide = zext <16 x i16> %j.bf16 to <16 x i32>
  %j.bits = shl <16 x i32> %j.wide, splat (i32 16)
  %j.peak = bitcast <16 x i32> %j.bits to <16 x float>
  %ratio = fdiv <16 x float> %j.peak, %unit.v
  %none = fcmp oeq <16 x float> %ratio, zeroinitializer
  %low = fcmp olt <16 x float> %ratio, splat (float 0x3F60000000000000)           ; 2^-9
  %high = fcmp ogt <16 x float> %ratio, splat (float 448.0)
  %ratio.low = select <16 x i1> %low, <16 x float> splat (float 0x3F60000000000000), <16 x float> %ratio
  %ratio.clamp = select <16 x i1> %high, <16 x float> splat (float 448.0), <16 x float> %ratio.low
  %r = select <16 x i1> %none, <16 x float> splat (float 1.0), <16 x float> %ratio.clamp
  ; e4m3: three mantissa bits, bias 7 (fp32: 127, so 120 << 3 less); below 2^-6 steps of 2^-9
  %r.bits = bitcast <16 x float> %r to <16 x i32>
  %r.cut = lshr <16 x i32> %r.bits, splat (i32 20)
  %r.odd = and <16 x i32> %r.cut, splat (i32 1)
  %r.half = add <16 x i32> %r.bits, splat (i32 524287)                            ; 2^19 - 1
  %r.even = add <16 x i32> %r.half, %r.odd
  %r.kept = lshr <16 x i32> %r.even, splat (i32 20)
  %r.normal = sub <16 x i32> %r.kept, splat (i32 960)                             ; 120 << 3
  %r.fixed = fadd <16 x float> %r, splat (float 16384.0)                          ; last place 2^-9
  %r.fixed.bits = bitcast <16 x float> %r.fixed to <16 x i32>
  %r.subnormal = sub <16 x i32> %r.fixed.bits, splat (i32 1182793728)             ; bits of 16384.0
  %r.tiny = fcmp olt <16 x float> %r, splat (float 0x3F90000000000000)            ; 2^-6
  %e4m3 = select <16 x i1> %r.tiny, <16 x i32> %r.subnormal, <16 x i32> %r.normal
  %e4m3.byte = trunc <16 x i32> %e4m3 to <16 x i8>
  %byte.at = getelementptr i8, ptr %bytes, i64 %j
  store <16 x i8> %e4m3.byte, ptr %byte.at, align 16
  ; and back to fp32, exactly
  %s.shift = shl <16 x i32> %e4m3, splat (i32 20)
  %s.bits = add <16 x i32> %s.shift, splat (i32 1006632960)                       ; 120 << 23
  %s.normal = bitcast <16 x i32> %s.bits to <16 x float>
  %s.count = uitofp <16 x i32> %e4m3 to <16 x float>
  %s.subnormal = fmul <16 x float> %s.count, splat (float 0x3F60000000000000)     ; 2^-9
  %s.tiny = icmp ult <16 x i32> %e4m3, splat (i32 8)
  %s = select <16 x i1> %s.tiny, <16 x float> %s.subnormal, <16 x float> %s.normal
  %step.v = fmul <16 x float> %s, %scale_2.v
  %step.at = getelementptr float, ptr %steps, i64 %j
  store <16 x float> %step.v, ptr %step.at, align 64
  %j.next = add i64 %j, 16
  %j.more = icmp ult i64 %j.next, %count
  br i1 %j.more, label %scale, label %code

code:
  %k = phi i64 [0, %scale], [%k.next, %code]
  %k.block = add i64 %done, %k
  %k.at = getelementptr <16 x i16>, ptr %weight, i64 %k.block
  %k.weight = load <16 x i16>, ptr %k.at, align 2
  %k.wide = zext <16 x i16> %k.weight to <16 x i32>
  %k.bits = shl <16 x i32> %k.wide, splat (i32 16)
  %k.value = bitcast <16 x i32> %k.bits to <16 x float>
  %k.step.at = getelementptr float, ptr %steps, i64 %k
  %k.step = load float, ptr %k.step.at
  %k.step.0 = insertelement <16 x float> poison, float %k.step, i64 0
  %k.step.v = shufflevector <16 x float> %k.step.0, <16 x float> poison, <16 x i32> zeroinitializer
  %q = fdiv <16 x float> %k.value, %k.step.v
  %q.bits = bitcast <16 x float> %q to <16 x i32>
  ; e2m1 has steps of 1/2 to 2, 1 to 4 and 2 to 6: the least of three roundings, and of 7
  %size.bits = and <16 x i32> %q.bits, splat (i32 2147483647)
  %size = bitcast <16 x i32> %size.bits to <16 x float>
  %twice = fmul <16 x float> %size, splat (float 2.0)
  %half = fmul <16 x float> %size, splat (float 0.5)
  %c.halves = fadd <16 x float> %twice, splat (float 12582912.0)                  ; 1.5 * 2^23
  %c.ones = fadd <16 x float> %size, splat (float 12582914.0)
  %c.twos = fadd <16 x float> %half, splat (float 12582916.0)
  %c.halves.bits = bitcast <16 x float> %c.halves to <16 x i32>
  %c.ones.bits = bitcast <16 x float> %c.ones to <16 x i32>
  %c.twos.bits = bitcast <16 x float> %c.twos to <16 x i32>
  %c.two = call <16 x i32> @llvm.umin.v16i32(<16 x i32> %c.halves.bits, <16 x i32> %c.ones.bits)
  %c.three = call <16 x i32> @llvm.umin.v16i32(<16 x i32> %c.two, <16 x i32> %c.twos.bits)
  %c.size = call <16 x i32> @llvm.umin.v16i32(<16 x i32> %c.three, <16 x i32> splat (i32 1262485511))
  %negative = fcmp olt <16 x float> %q, zeroinitializer
  %c.sign = select <16 x i1> %negative, <16 x i32> splat (i32 8), <16 x i32> zeroinitializer
  %c = or <16 x i32> %c.size, %c.sign
  ; a pair as a little-endian 16-bit word is odd << 8 | even
  %c.byte = trunc <16 x i32> %c to <16 x i8>
  %c.pair = bitcast <16 x i8> %c.byte to <8 x i16>
  %c.odds = lshr <8 x i16> %c.pair, splat (i16 4)
  %c.both = or <8 x i16> %c.pair, %c.odds
  %c.packed = trunc <8 x i16> %c.both to <8 x i8>
  %codes.at = getelementptr <8 x i8>, ptr %codes, i64 %k.block
  store <8 x i8> %c.packed, ptr %codes.at, align 1
  %k.byte.at = getelementptr i8, ptr %bytes, i64 %k
  %k.byte = load i8, ptr %k.byte.at
  %scales.at = getelementptr i8, ptr %scales, i64 %k.block
  store i8 %k.byte, ptr %scales.at
  %k.next = add i64 %k, 1
  %k.more = icmp ult i64 %k.next, %count
  br i1 %k.more, label %code, label %strip.end
strip.end:
  %done.next = add i64 %done, %count
  br label %strip
exit:
  ret void
}
"""

_PEAK = ctypes.CFUNCTYPE(ctypes.c_uint16, ctypes.c_void_p, ctypes.c_int64)
_PACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p, ctypes.c_void_p
)
_compiling = threading.Lock()


class CpuKernel:
    """The compiled kernel. Calls let go of the interpreter, so threads run side by side."""

    name = "llvm"

    def __init__(self) -> None:
        with _compiling:
            self._engine = _compile()
        self._peak = _PEAK(self._engine.get_function_address("peak"))
        self._pack = _PACK(self._engine.get_function_address("pack"))

    def peak(self, weight: U16) -> int:
        """Return the largest |weight| as BF16 bits."""
        _check(weight, weight.size)
        return int(self._peak(weight.ctypes.data, weight.size // GROUP_SIZE))

    def pack(self, weight: U16, scale_2: np.float32, codes: U8, scales: U8) -> None:
        """Pack whole blocks."""
        _check(weight, weight.size)
        _check(codes, weight.size // 2)
        _check(scales, weight.size // GROUP_SIZE)
        blocks = weight.size // GROUP_SIZE
        self._pack(weight.ctypes.data, blocks, float(scale_2), codes.ctypes.data, scales.ctypes.data)


def _check(array: U8 | U16, size: int) -> None:
    """Refuse what machine code would read or write outside of: it gets bare addresses."""
    if not array.flags.c_contiguous or array.size != size or (array.itemsize == 2 and size % GROUP_SIZE):
        raise ValueError(f"expected {size} contiguous items in whole blocks, got {array.shape}")


def _compile() -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(MODULE)
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
