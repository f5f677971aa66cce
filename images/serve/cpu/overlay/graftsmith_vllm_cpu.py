"""Plugin of vLLM 0.32.0: NVFP4 checkpoints with a draft head, served on a CPU.

It belongs to the tiny path, where a laptop runs the server that a GPU runs for a
real release. Two things stand in the way there, and both are mended in the
worker before a model is built:

1. vLLM lists no NVFP4 kernel for the CPU, although its emulation runs there.
2. The CPU stand-in for the sampler's ``expand_kernel`` drops its result.

vLLM finds ``register`` through the entry point group ``vllm.general_plugins``.
"""

from typing import Protocol

import torch

WRITTEN_FOR = "0.32.0"
GROUP_SIZE = 16


class NvFp4Layer(Protocol):
    """What vLLM's ModelOpt NVFP4 method leaves on a linear layer after loading."""

    weight: torch.Tensor
    weight_scale: torch.Tensor
    weight_global_scale: torch.Tensor
    input_global_scale_inv: torch.Tensor
    dequantized_weight: torch.Tensor


class CpuNvFp4LinearKernel:
    """NVFP4 W4A4 in BF16 arithmetic: both operands are rounded to FP4 values first.

    The numbers are those of vLLM's ``EmulationNvFp4LinearKernel``. That one unpacks
    the weight at every forward pass; this one unpacks it once, at load, which on a
    CPU is the difference between minutes and seconds.
    """

    def __init__(self, config: object) -> None:
        self.config = config

    @classmethod
    def is_supported(cls, compute_capability: int | None = None) -> tuple[bool, str | None]:
        """Say yes: the arithmetic needs no instruction that a CPU may lack."""
        del compute_capability
        return True, None

    @classmethod
    def can_implement(cls, config: object) -> tuple[bool, str | None]:
        """Say yes: every NVFP4 linear layer has the same structure."""
        del config
        return True, None

    def input_quant_key(self) -> None:
        """Declare that activations arrive unquantized; ``apply_weights`` rounds them."""

    def process_weights_after_loading(self, layer: NvFp4Layer) -> None:
        """Unpack the weight of ``layer`` to BF16, shape ``[out, in]``."""
        from vllm.model_executor.layers.quantization.utils import nvfp4_emulation_utils as emulation

        layer.dequantized_weight = emulation.dequantize_to_dtype(
            layer.weight.data.view(torch.uint8),
            layer.weight_scale.data,
            layer.weight_global_scale,
            torch.bfloat16,
            GROUP_SIZE,
            swizzle=False,
        )

    def apply_weights(
        self, layer: NvFp4Layer, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``x @ weight.T + bias`` with ``x`` rounded to FP4 values per group of 16."""
        from vllm.model_executor.layers.quantization.utils import nvfp4_emulation_utils as emulation

        rows = x.reshape(-1, x.shape[-1])
        rounded = emulation.ref_nvfp4_quant_dequant(rows, layer.input_global_scale_inv, GROUP_SIZE)
        out = torch.nn.functional.linear(rounded, layer.dequantized_weight, bias)
        return out.reshape(*x.shape[:-1], -1)


def expand(
    output: torch.Tensor,
    input_val: torch.Tensor,
    cu_num_tokens: torch.Tensor,
    replace_from: float,
    replace_to: float,
    max_num_tokens: int | None = None,
) -> None:
    """Repeat each request's value for each of its draft tokens, into ``output``.

    ``input_val`` is ``[requests]`` of any dtype, ``cu_num_tokens`` the inclusive
    running sum of draft tokens, ``output`` is ``[cu_num_tokens[-1]]``.
    """
    del max_num_tokens
    value = torch.where(input_val == replace_from, replace_to, input_val)
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1))
    output.copy_(torch.repeat_interleave(value, counts.long()))


def register() -> None:
    """Mend vLLM in this process. Does nothing on a platform other than the CPU.

    Raises RuntimeError on another version of vLLM: both changes rest on its insides.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    _refuse_other_versions()
    _enable_nvfp4()
    _mend_expand()
    _inspect_in_process()


def _refuse_other_versions() -> None:
    import vllm

    if vllm.__version__ != WRITTEN_FOR:
        raise RuntimeError(
            f"graftsmith_vllm_cpu was written for vLLM {WRITTEN_FOR}, this is {vllm.__version__}. "
            "It changes vLLM's insides, so served tokens could be silently wrong. Check both changes "
            "against the new version, then raise WRITTEN_FOR; or pin vllm-cpu back in "
            "images/serve/cpu/requirements.in."
        )


def _enable_nvfp4() -> None:
    # vLLM keeps one list of NVFP4 kernels per platform and none for the CPU: without
    # this, loading fails with "Failed to find a kernel". `--linear-backend emulation`
    # only filters that empty list.
    from vllm.model_executor.kernels.linear import register_linear_kernel
    from vllm.platforms import PlatformEnum

    register_linear_kernel(CpuNvFp4LinearKernel, PlatformEnum.CPU, "nvfp4")


def _mend_expand() -> None:
    # vLLM's version hands the C++ op an int64 *copy* of `output` and drops it, so with
    # speculative decoding every sampled request reads temperature, top_p and top_k from
    # uninitialised memory. The worker registers its kernels after it loads plugins
    # (WorkerWrapperBase.init_worker), so the name in the module is what it will take.
    from vllm.utils import cpu_triton_utils

    cpu_triton_utils._expand_kernel_impl = expand


def _inspect_in_process() -> None:
    # vLLM looks at each model class in a fresh interpreter, so that looking cannot
    # initialise CUDA in the parent. A CPU has nothing to protect, and the detour costs
    # two imports of torch and vLLM, 20 seconds of a 50 second start on two cores.
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda look: look()
