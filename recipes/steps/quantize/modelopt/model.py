"""The master as a torch model, with modelopt's quantizers inserted where the recipe says."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import modelopt.torch.quantization as mtq
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from recipes.formats.precision import Precision
from recipes.formats.qwen3_5 import Layout
from recipes.formats.step import Exit, StepError
from recipes.steps.quantize.modelopt.rules import quant_config


def load_model(master: Path) -> nn.Module:
    """Load the master in BF16, for inference, onto the GPU when there is one.

    Raises StepError when the checkpoint lacks a tensor of the model.
    """
    model, info = AutoModelForImageTextToText.from_pretrained(
        master,
        dtype=torch.bfloat16,
        local_files_only=True,
        output_loading_info=True,
        # Straight to the GPU: by way of the CPU, 27B need 54 GB of memory in between.
        device_map={"": "cuda"} if torch.cuda.is_available() else None,
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise StepError(f"master: {missing[0]}: no such tensor ({len(missing)} in all)", Exit.CONFIG)
    return model.eval()


def insert_quantizers(model: nn.Module, layout: Layout, precision: Precision) -> dict[str, nn.Module]:
    """Insert NVFP4 quantizers, take the weights' ranges, return module name → quantized Linear.

    No data is run. Raises StepError when other modules are quantized than ``precision`` packs.
    """
    mtq.quantize(model, quant_config(mtq.NVFP4_DEFAULT_CFG, precision), None)
    found = {name: module for name, module in model.named_modules() if _is_quantized(module)}
    for name in sorted(found.keys() ^ precision.modules(layout)):
        state = "quantized, but the recipe keeps it" if name in found else "not quantized"
        raise StepError(f"{name}: {state}; this modelopt reads its rules otherwise", Exit.CONFIG)
    return found


@contextmanager
def zero_ranges_refused() -> Iterator[None]:
    """Turn modelopt's warning about zero or NaN ranges into StepError.

    modelopt would put a constant in their place and export a scale that nobody measured.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*amax.*", category=UserWarning)
        try:
            yield
        except UserWarning as warning:
            raise StepError(f"modelopt: {warning}") from warning


def _is_quantized(module: nn.Module) -> bool:
    quantizer = getattr(module, "weight_quantizer", None)
    return quantizer is not None and bool(quantizer.is_enabled)
