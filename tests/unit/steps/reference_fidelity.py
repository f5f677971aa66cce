"""Run in the quantize environment: both models whole, and their divergence over the whole vocabulary.

    python -m tests.unit.steps.reference_fidelity MASTER NVFP4 TOKENS.json

prints, for each row of token ids, the divergence at each position but the last and both
log-probabilities of the token that follows, as JSON. Nothing of the step is used: weights are
unpacked and inputs are packed by formulas written out here.
"""

# ruff: noqa: T201 - what it found goes to its caller

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForImageTextToText

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
TIES_UP = torch.tensor([False, True, False, True, False, True, False])
FUSED = (
    {"q_proj", "k_proj", "v_proj"},
    {"gate_proj", "up_proj"},
    {"in_proj_qkv", "in_proj_z"},
    {"in_proj_a", "in_proj_b"},
)


class Packed(nn.Module):  # type: ignore[misc]  # the host checks without torch
    """A packed Linear."""

    def __init__(self, weight: torch.Tensor, scale_2: torch.Tensor, input_scale: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.input_scale = weight, input_scale
        self.factor = float(input_scale * scale_2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply as an engine does."""
        return F.linear(quantize(x, self.input_scale), self.weight) * self.factor


def quantize(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the codes of ``x`` times their block scales, without the global scale."""
    blocks = x.float().reshape(-1, 16)
    ratio = blocks.abs().amax(1) / (6 * scale)
    ratio[ratio == 0] = 1
    steps = ratio.clamp(2.0**-9, 448).to(torch.float8_e4m3fn).float()
    size = blocks.abs() / (steps * scale)[:, None]
    middles = (E2M1[1:] + E2M1[:-1]) / 2
    above = torch.where(TIES_UP, size[..., None] >= middles, size[..., None] > middles)
    values = E2M1[above.sum(-1)] * blocks.sign() * steps[:, None]
    return values.reshape(x.shape).to(torch.bfloat16)


def unpack(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return weights without their global scale."""
    nibbles = torch.stack((codes & 15, codes >> 4), -1).reshape(codes.shape[0], -1).long()
    values = E2M1[nibbles & 7] * (1 - 2 * (nibbles >> 3))
    return (values.reshape(*scales.shape, 16) * scales.float()[..., None]).reshape(values.shape).bfloat16()


def main(master: str, nvfp4: str, tokens: str) -> None:
    """Print what was found."""
    ours = AutoModelForImageTextToText.from_pretrained(master, dtype=torch.bfloat16).eval()
    theirs = AutoModelForImageTextToText.from_pretrained(master, dtype=torch.bfloat16).eval()
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(Path(nvfp4).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    for name, codes in tensors.items():
        module = name.removesuffix(".weight")
        if codes.dtype is not torch.uint8 or ".visual." in name:
            continue
        weight = unpack(codes, tensors[f"{module}.weight_scale"])
        scales = [_largest(module, leaf, tensors) for leaf in ("weight_scale_2", "input_scale")]
        parent, _, leaf = module.rpartition(".")
        setattr(theirs.get_submodule(parent), leaf, Packed(weight, *scales))
    for row in json.loads(Path(tokens).read_text()):
        ids = torch.tensor([row])
        with torch.inference_mode():
            first, second = (
                model(input_ids=ids, use_cache=False).logits[0, :-1].double().log_softmax(-1)
                for model in (ours, theirs)
            )
        kl = F.kl_div(second, first, reduction="none", log_target=True).sum(-1)
        said = [found.gather(1, ids[0, 1:, None])[:, 0].tolist() for found in (first, second)]
        print(json.dumps({"kl": kl.tolist(), "master": said[0], "nvfp4": said[1]}))


def _largest(module: str, leaf: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    parent, _, own = module.rpartition(".")
    group = next((group for group in FUSED if own in group), {own})
    found = (tensors.get(f"{parent}.{part}.{leaf}") for part in group)
    return max(scale for scale in found if scale is not None)


if __name__ == "__main__":
    main(*sys.argv[1:])
