"""Packed Linears, computed as an engine computes them.

    decoder = Decoder(release, device, PackedLinears(read_body(tree), device))

A code times its block scale has at most six significant bits, and BF16 has eight: such products
are exact, so a BF16 product of matrices multiplies what an FP4 tensor core multiplies, and sums
in fp32 as it does. The global scales multiply what comes out:

    W4A4     y = (codes(x) * scales(x)) @ (codes(W) * scales(W)).T * (input_scale * weight_scale_2)
    W4A16    y = x @ (codes(W) * scales(W)).T * weight_scale_2

x is packed by the very kernels that pack weights, with the published input_scale for its global
scale: the formulas stand in recipes/formats/nvfp4.py.

Linears that an engine fuses have one global scale there: the largest of them, and no block is
rescaled (vLLM: ModelOptNvFp4LinearMethod.process_weights_after_loading takes ``.max()``). It is
so here, so that a scale which differs inside a group does here what it does there. What remains
unlike an engine is the order of the sums, and a rounding to BF16 before the last factor.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch import nn

from recipes.formats import nvfp4
from recipes.formats.ignore import FUSED
from recipes.formats.proofs.subject import Body
from recipes.formats.step import Exit, StepError
from recipes.layerwise.weights import Tensors
from recipes.steps.quantize.kernels.kernel import Kernel, choose


class PackedLinears:
    """Puts what is packed in ``body`` in place of BF16 Linears."""

    def __init__(self, body: Body, device: torch.device) -> None:
        self._body = body
        self._packed = frozenset(body.modules)
        self._device = device
        self._table = _pairs().to(device)
        self._quantize = _quantizer(device, self._table)

    def __call__(self, module: nn.Module, prefix: str, found: Tensors) -> None:
        """Replace every Linear below ``module`` that is packed; ``prefix`` begins their names.

        Raises StepError naming a scale that no engine can use.
        """
        shared: dict[float, _Inputs] = {}
        for path, linear in list(module.named_modules()):
            if not isinstance(linear, nn.Linear) or f"{prefix}{path}" not in self._packed:
                continue
            parent, _, leaf = path.rpartition(".")
            module.get_submodule(parent).register_module(
                leaf, self.linear(f"{prefix}{path}", found, linear, shared)
            )

    def linear(
        self, name: str, found: Tensors, plain: nn.Linear, shared: "dict[float, _Inputs] | None" = None
    ) -> nn.Module:
        """Return the packed Linear ``name``. Linears that share a dict pack an equal input once."""
        scheme = self._body.scheme
        codes, scales = found[f"{name}.{scheme.codes}"], found[f"{name}.{scheme.block_scales}"]
        wanted = ((plain.out_features, plain.in_features // 2), (plain.out_features, plain.in_features // 16))
        if (tuple(codes.shape), tuple(scales.shape)) != wanted:
            raise StepError(f"{name}: expected codes and scales {wanted}, got {codes.shape}", Exit.CONFIG)
        if not bool(torch.isfinite(scales.float()).all()):
            raise StepError(f"{name}.{scheme.block_scales}: expected finite scales, got NaN", Exit.PROOF)
        weight = unpack(codes.to(self._device), scales.to(self._device), self._table)
        factor = self._global(name, scheme.global_scale, found)
        if not self._body.activations:
            return PackedLinear(weight, factor, plain.bias, None)
        scale = self._global(name, scheme.input_scale, found)
        shared = {} if shared is None else shared
        inputs = shared.setdefault(scale, _Inputs(scale, self._quantize))
        return PackedLinear(weight, float(np.float32(scale) * np.float32(factor)), plain.bias, inputs)

    def _global(self, name: str, leaf: str, found: Tensors) -> float:
        """Return the largest global scale of those that are fused with ``name``."""
        scales = {}
        for member in _fused_with(name, self._packed):
            value = float(found[f"{member}.{leaf}"].float().reshape(-1)[0])
            if not (np.isfinite(value) and value > 0):
                raise StepError(f"{member}.{leaf}: expected a positive number, got {value}", Exit.PROOF)
            scales[member] = 1 / value if self._body.scheme.reciprocal else value
        return max(scales.values())


class PackedLinear(nn.Module):  # type: ignore[misc]  # the host checks without torch
    """A Linear of exact BF16 products; ``factor`` holds the global scales, ``inputs`` packs what comes in."""

    def __init__(
        self,
        weight: torch.Tensor,
        factor: float,
        bias: torch.Tensor | None,
        inputs: "Callable[[torch.Tensor], torch.Tensor] | None",
    ) -> None:
        super().__init__()
        self.register_buffer("values", weight, persistent=False)
        self.register_parameter("bias", bias)
        self._factor, self._inputs = factor, inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [..., out] for ``x`` [..., in], both BF16."""
        product = F.linear(self._inputs(x) if self._inputs else x, self.values) * self._factor
        return product if self.bias is None else product + self.bias


class _Inputs:
    """Packs inputs under one scale; the tensor that several Linears read is packed once."""

    def __init__(self, scale: float, quantize: Callable[[torch.Tensor, float], torch.Tensor]) -> None:
        self._scale, self._quantize = scale, quantize
        self._seen: torch.Tensor | None = None
        self._values: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._values is None or x is not self._seen:
            self._seen, self._values = x, self._quantize(x, self._scale)
        return self._values


def unpack(codes: torch.Tensor, scales: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Return codes * block scales as BF16 [..., in], exactly; ``codes`` U8 [..., in/2], ``scales`` e4m3.

    Without the global scale.
    """
    pairs = table.index_select(0, codes.reshape(-1).int()).view(torch.bfloat16)
    blocks = pairs.view(*scales.shape, nvfp4.GROUP_SIZE)
    return (blocks * scales.to(torch.bfloat16)[..., None]).view(*codes.shape[:-1], -1)


def _pairs() -> torch.Tensor:
    """Return for each byte its two codes as BF16, in one 32-bit word."""
    bits = nvfp4.f32_to_bf16(nvfp4.E2M1).astype(np.uint32)
    byte = np.arange(256)
    return torch.from_numpy((bits[byte & 15] | bits[byte >> 4] << np.uint32(16)).view(np.int32))


def _quantizer(device: torch.device, table: torch.Tensor) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Return what packs activations under a global scale and gives back codes * block scales."""
    if device.type == "cuda":
        from recipes.steps.quantize.kernels import gpu

        def on_gpu(x: torch.Tensor, scale: float) -> torch.Tensor:
            codes, scales = gpu.pack(x.contiguous(), scale)
            return unpack(codes, scales.view(torch.float8_e4m3fn), table)

        return on_gpu
    kernel: Kernel = choose(0, gpu=False)

    def on_cpu(x: torch.Tensor, scale: float) -> torch.Tensor:
        bits = x.contiguous().view(torch.int16).numpy().view(np.uint16).reshape(-1)
        codes, scales = np.empty(bits.size // 2, np.uint8), np.empty(bits.size // 16, np.uint8)
        kernel.pack(bits, np.float32(scale), codes, scales)
        steps = torch.from_numpy(scales).view(torch.float8_e4m3fn).view(*x.shape[:-1], -1)
        return unpack(torch.from_numpy(codes).view(*x.shape[:-1], -1), steps, table)

    return on_cpu


def _fused_with(name: str, packed: frozenset[str]) -> list[str]:
    """Return the packed modules that an engine builds as one with ``name``, itself among them."""
    parent, _, leaf = name.rpartition(".")
    for group in FUSED.values():
        if leaf in group:
            return [member for part in group if (member := f"{parent}.{part}") in packed]
    return [name]
