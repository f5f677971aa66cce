"""Run in the serve environment: vLLM's own answer which modules an ignore list excludes.

Reads ``[[module names], [pattern lists]]`` as JSON and prints, per list, what each module
is: "kept", "quantized", or "refused".
"""

import json
import sys

from vllm.model_executor.layers.quantization.modelopt import ModelOptNvFp4Config
from vllm.model_executor.models.qwen3_5 import Qwen3_5ForConditionalGeneration
from vllm.model_executor.models.qwen3_5_mtp import Qwen3_5MTP


def main() -> None:
    """Answer every pattern list for every module."""
    names, lists = json.load(sys.stdin)
    json.dump([{name: answer(name, patterns) for name in names} for patterns in lists], sys.stdout)


def answer(name: str, patterns: list[str]) -> str:
    """Return what vLLM does with its module ``name`` under ``patterns``."""
    model = Qwen3_5MTP if name.startswith("mtp.") or name == "lm_head" else Qwen3_5ForConditionalGeneration
    config = ModelOptNvFp4Config("NVFP4", True, None, list(patterns), 16)
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    if mapper is not None:
        config.apply_vllm_mapper(mapper.get_rename_mapper())
    config.packed_modules_mapping = model.packed_modules_mapping
    try:
        return "kept" if config.is_layer_excluded(name) else "quantized"
    except ValueError:
        return "refused"


if __name__ == "__main__":
    main()
