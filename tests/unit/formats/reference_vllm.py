"""Run in the serve environment: vLLM's own answer which modules an ignore list excludes.

Reads questions ``[[dialect, [module names], [pattern lists]], ...]`` as JSON, the dialect being
"modelopt" or "compressed-tensors", and prints, per question and list, what each module is:
"kept", "quantized", or "refused".
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import (
    CompressedTensorsConfig,
)
from vllm.model_executor.layers.quantization.compressed_tensors.utils import should_ignore_layer
from vllm.model_executor.layers.quantization.modelopt import ModelOptNvFp4Config
from vllm.model_executor.models.qwen3_5 import Qwen3_5ForConditionalGeneration
from vllm.model_executor.models.qwen3_5_mtp import Qwen3_5MTP

FOUR_BITS = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}


def main() -> None:
    """Answer every pattern list of every question for every module."""
    readers = {"modelopt": modelopt, "compressed-tensors": compressed_tensors}
    answers = [
        [{name: answer(name, patterns, readers[dialect]) for name in names} for patterns in lists]
        for dialect, names, lists in json.load(sys.stdin)
    ]
    json.dump(answers, sys.stdout)


def answer(name: str, patterns: list[str], reader: Callable[[str, list[str], Any], bool]) -> str:
    """Return what vLLM does with its module ``name`` under ``patterns``."""
    model = Qwen3_5MTP if name.startswith("mtp.") or name == "lm_head" else Qwen3_5ForConditionalGeneration
    try:
        return "kept" if reader(name, list(patterns), model) else "quantized"
    except ValueError:
        return "refused"


def modelopt(name: str, patterns: list[str], model: Any) -> bool:
    """Ask the reader of modelopt's lists."""
    config = _prepared(ModelOptNvFp4Config("NVFP4", True, None, patterns, 16), model)
    return bool(config.is_layer_excluded(name))


def compressed_tensors(name: str, patterns: list[str], model: Any) -> bool:
    """Ask the reader of compressed-tensors' lists."""
    said = {
        "quant_method": "compressed-tensors",
        "format": "nvfp4-pack-quantized",
        "config_groups": {
            "group_0": {"weights": FOUR_BITS, "input_activations": FOUR_BITS, "targets": ["Linear"]}
        },
        "ignore": patterns,
    }
    config = _prepared(CompressedTensorsConfig.from_config(said), model)
    return bool(should_ignore_layer(name, ignore=config.ignore, fused_mapping=config.packed_modules_mapping))


def _prepared(config: Any, model: Any) -> Any:
    """Rename and fuse as vLLM does before it builds ``model``."""
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    if mapper is not None:
        config.apply_vllm_mapper(mapper.get_rename_mapper())
    config.packed_modules_mapping = model.packed_modules_mapping
    return config


if __name__ == "__main__":
    main()
