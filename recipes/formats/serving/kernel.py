"""What an NVFP4 kernel of vLLM computes with, told by its name.

    arithmetic("MarlinNvFp4LinearKernel")     # "W4A16"

A kernel of packed weights alone never reads the input scales: what was measured with it says
nothing about them.
"""

WEIGHTS_ONLY = ("Marlin", "W4A16", "Fbgemm")
BOTH = ("Cutlass", "CuteDsl", "B12x", "Trtllm", "Cudnn", "CpuNvFp4", "Emulation")
"""Words in the names of vLLM's NVFP4 kernels."""


def arithmetic(kernel: str) -> str | None:
    """Return W4A4 or W4A16; None for a kernel that is not known.

    Where several kernels are named, one of weights alone makes it W4A16.
    """
    if any(word in kernel for word in WEIGHTS_ONLY):
        return "W4A16"
    return "W4A4" if any(word in kernel for word in BOTH) else None
