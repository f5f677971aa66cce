"""The Triton kernel on a real GPU: bit-equal to numpy, and how near to the speed of a copy.

    python3 -m benchmarks.quantize_gpu [--gib N]

Needs this repository, numpy, torch and triton, and a CUDA GPU with three times N GiB free.
Exits with 1 when a byte differs. Nothing is written.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from statistics import median

import numpy as np
import torch
import triton
import triton.language as tl

from recipes.formats import nvfp4
from recipes.steps.quantize.kernels import gpu
from tests.unit.formats.families import every_pattern, families

REPEATS = 20
ROW = 5120


def main() -> None:
    """Check every family and every pair of significands, then measure; print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gib", type=float, default=8.0, help="BF16 weights to pack (default 8)")
    gib: float = parser.parse_args().gib
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")
    flaws = [*_differences(), *_divisions()]
    for flaw in flaws:
        print(f"DIFFERENT: {flaw}")
    for line in _speed(int(gib * (1 << 30))):
        print(line, flush=True)
    sys.exit(1 if flaws else 0)


def _differences() -> Iterator[str]:
    """Yield where the kernel is not numpy, over every family, scale and way to divide."""
    count = 0
    for family, bits in _cases():
        own = nvfp4.global_scale([("w", bits)])
        weight = _on_gpu(bits)
        if gpu.peak(weight) != nvfp4.peak(bits):
            yield f"{family}: peak"
        # In a fused group the scale is often another member's, which is larger.
        for scale in (own, np.float32(min(float(own) * 37.7, 1e34))):
            theirs = nvfp4.pack("w", bits, scale)
            for exact_division in (False, True):
                codes, scales = gpu.pack(weight, float(scale), exact_division=exact_division)
                count += 1
                for part, ours, reference in (
                    ("codes", codes, theirs.codes),
                    ("scales", scales, theirs.scales),
                ):
                    wrong = int(np.count_nonzero(ours.cpu().numpy() != reference))
                    if wrong:
                        how = "divided" if exact_division else "by inverse"
                        yield f"{family}, scale {scale}, {how}: {wrong} of {reference.size} {part}"
    yield from _host_kernel()
    print(f"packed {count} times and compared with numpy, every byte")


def _cases() -> Iterator[tuple[str, nvfp4.U16]]:
    yield from families().items()
    # Scales at the very ends of where a weight is multiplied by an inverse, and just outside.
    for exponent in (-49, -48, -47, 17, 18, 19):
        weight = every_pattern().copy()
        top = np.uint16((exponent + 127) << 7)
        weight[(weight & 0x7FFF) > top] &= np.uint16(0x80FF)
        weight[0, 0] = top
        yield f"every pattern up to 2^{exponent}", weight
    random = np.random.default_rng(2)
    large = nvfp4.f32_to_bf16((random.standard_normal((4096, 4096)) * 0.02).astype(np.float32))
    yield "random 4096 x 4096", large


def _host_kernel() -> Iterator[str]:
    bits = families()["random"].reshape(-1)
    scale = nvfp4.global_scale([("w", bits)])
    codes, scales = np.empty(bits.size // 2, np.uint8), np.empty(bits.size // 16, np.uint8)
    gpu.GpuKernel().pack(bits, scale, codes, scales)
    theirs = nvfp4.pack("w", bits.reshape(96, -1), scale)
    if not (
        np.array_equal(codes, theirs.codes.reshape(-1)) and np.array_equal(scales, theirs.scales.reshape(-1))
    ):
        yield "weights sent from host memory"


def _divisions() -> Iterator[str]:
    """Yield a flaw when any of the 2^30 pairs of significands divides otherwise than ``div_rn``."""
    wrong = torch.zeros(1, dtype=torch.int64, device="cuda")
    _count_wrong[((1 << 23) // 1024,)](wrong, width=1024, enable_fp_fusion=False)
    found = int(wrong.item())
    print(f"divided 2^30 pairs of significands by inverse: {found} differ from division")
    if found:
        yield f"division by inverse: {found} pairs"


@triton.jit
def _count_wrong(wrong: tl.tensor, width: tl.constexpr) -> None:
    bits = 0x3F800000 + tl.program_id(0) * width + tl.arange(0, width)
    step = bits.to(tl.float32, bitcast=True)
    differ = tl.zeros((width,), dtype=tl.int32)
    for significand in range(128, 256):
        size = tl.full((width,), significand, tl.int32).to(tl.float32)
        same = gpu._divide(size, step, True) == gpu._divide(size, step, False)
        differ += tl.where(same, 0, 1)
    tl.atomic_add(wrong, tl.sum(differ, axis=0).to(tl.int64))


def _speed(nbytes: int) -> Iterator[str]:
    rows = nbytes // (2 * ROW)
    weight = torch.empty((rows, ROW), dtype=torch.bfloat16, device="cuda").normal_(0, 0.02)
    scale = float(nvfp4.scale_of_peaks({"w": gpu.peak(weight)}))
    read, written = weight.nbytes, rows * ROW * 9 // 16
    copying = _copy(weight)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    packing = _milliseconds(lambda: gpu.pack(weight, scale))
    dividing = _milliseconds(lambda: gpu.pack(weight, scale, exact_division=True))
    held = torch.cuda.max_memory_allocated() - before
    peak = _milliseconds(lambda: gpu.peak(weight))
    yield f"{read / 2**30:.1f} GiB of BF16, median of {REPEATS}; packing holds {held / 2**30:.2f} GiB more"
    for name, taken, moved in (("copy", copying, 2 * read), ("pack", packing, read + written)):
        rates = f"{read / taken / 1e6:7.0f} GB/s of weights {moved / taken / 1e6:7.0f} GB/s moved"
        yield f"{name:<6} {taken:8.3f} ms {rates}"
    yield f"  dividing every weight {dividing:.3f} ms; finding the peak {peak:.3f} ms"
    moved_ratio = (read + written) / packing / (2 * read / copying)
    weights_ratio = copying / packing
    yield f"pack / copy: {weights_ratio:.2f} in weights a second, {moved_ratio:.2f} in bytes moved a second"
    yield f"  with the peak: {copying / (packing + peak):.2f} in weights a second"


def _copy(weight: torch.Tensor) -> float:
    target = torch.empty_like(weight)
    return _milliseconds(lambda: target.copy_(weight))


def _milliseconds(work: Callable[[], object]) -> float:
    taken = []
    for number in range(REPEATS + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if number >= 3:
            taken.append(start.elapsed_time(end))
    return float(median(taken))


def _on_gpu(bits: nvfp4.U16) -> torch.Tensor:
    return torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16).cuda()


if __name__ == "__main__":
    main()
