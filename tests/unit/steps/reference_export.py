"""Run in the quantize environment: modelopt's own calibrate and export in one go, without our steps.

    python -m tests.unit.steps.reference_export MASTER TOKENS.json OUT [bf16]

With "bf16" the gates in_proj_a and in_proj_b are left as modelopt's defaults have them.

The rules are written out here rather than taken from the steps; so is the forward pass.
"""

import copy
import json
import sys
from pathlib import Path

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from torch import nn
from transformers import AutoModelForImageTextToText

NVFP4 = {"num_bits": (2, 1), "block_sizes": {-1: 16, "type": "dynamic", "scale_bits": (4, 3)}}


def main(master: str, tokens: str, out: str, gates: str = "nvfp4") -> None:
    """Quantize ``master`` over the token lists in file ``tokens`` and export to ``out``."""
    batches: list[list[int]] = json.loads(Path(tokens).read_text())
    config = copy.deepcopy(mtq.NVFP4_DEFAULT_CFG)
    for gate in "ab" if gates == "nvfp4" else "":
        for kind in ("weight", "input"):
            name = f"*linear_attn.in_proj_{gate}.{kind}_quantizer"
            config["quant_cfg"].append({"quantizer_name": name, "cfg": NVFP4, "enable": True})
    model = AutoModelForImageTextToText.from_pretrained(master, dtype=torch.bfloat16).eval()

    def forward(module: nn.Module) -> None:
        for batch in batches:
            with torch.no_grad():
                module(input_ids=torch.tensor([batch]), use_cache=False)

    mtq.quantize(model, config, forward)
    with torch.no_grad():
        export_hf_checkpoint(model, export_dir=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
