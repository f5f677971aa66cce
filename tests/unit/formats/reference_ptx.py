"""Run in the quantize environment: compile the GPU kernel without a GPU, print its fp32 operations."""

import json
import re
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from recipes.steps.quantize.kernels import gpu

ALIGNED = [["tt.divisibility", 16]]
SIGNATURE = {
    "words": "*i32",
    "scale_2": "fp32",
    "codes": "*u8",
    "scales": "*u8",
    "blocks": "i64",
    "width": "constexpr",
    "by_inverse": "constexpr",
}


def operations(arch: int, by_inverse: bool) -> list[str]:
    """Return the fp32 arithmetic in the PTX for compute capability ``arch``; moves do not count."""
    source = ASTSource(
        fn=gpu._pack,
        signature=SIGNATURE,
        constexprs={(5,): gpu.BLOCKS, (6,): by_inverse},
        attrs={(argument,): ALIGNED for argument in (0, 2, 3)},
    )
    options = {"num_warps": 4, "enable_fp_fusion": False}
    text = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options).asm["ptx"]
    found = re.findall(r"^\s*(?:@\S+\s+)?([a-z][a-z0-9]*(?:\.[a-z]+)*\.f32)\b", text, re.MULTILINE)
    return sorted({name for name in found if not name.startswith(("mov.", "setp.", "selp.", "cvt."))})


if __name__ == "__main__":
    kinds = {"divided": False, "by inverse": True}
    compiled = {f"sm_{arch} {kind}": operations(arch, by) for arch in (90, 121) for kind, by in kinds.items()}
    json.dump(compiled, sys.stdout)
