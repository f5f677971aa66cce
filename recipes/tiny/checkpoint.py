"""How the two checkpoints are laid out on disk: shards, index, configuration, tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3_5ForConditionalGeneration

from recipes.tiny.configuration import generation_config, processor_config
from recipes.tiny.corpus import Json
from recipes.tiny.model import DraftHead
from recipes.tiny.vocabulary import TOKENIZER_OPTIONS

TEMPLATE = Path(__file__).parents[1] / "templates" / "chat_template.jinja"
BODY_SHARDS = 3
MASTER_SHARD_SIZE = "800KB"


def save_base(
    model: Qwen3_5ForConditionalGeneration, head: DraftHead, config: dict[str, Json], folder: Path
) -> None:
    """Write body shards of about equal size, then the draft head as the last shard, and their index."""
    body = {name: to_disk(tensor) for name, tensor in model.state_dict().items()}
    share = sum(tensor.nbytes for tensor in body.values()) / BODY_SHARDS
    shards: list[dict[str, Tensor]] = [{} for _ in range(BODY_SHARDS)]
    written = 0
    for name, tensor in body.items():
        shards[min(int(written / share), BODY_SHARDS - 1)][name] = tensor
        written += tensor.nbytes
    shards.append({f"mtp.{name}": to_disk(tensor) for name, tensor in head.state_dict().items()})

    weight_map: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"model.safetensors-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)
    write_json(folder / "config.json", config)


def save_master(model: Qwen3_5ForConditionalGeneration, folder: Path) -> None:
    """Write as transformers does after any fine-tuning: its model has no draft head, so that is gone."""
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=MASTER_SHARD_SIZE)


def save_common(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what a server reads beside config and weights."""
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **TOKENIZER_OPTIONS}
    )
    shutil.copyfile(TEMPLATE, folder / "chat_template.jinja")
    write_json(folder / "generation_config.json", generation_config(tokenizer))
    write_json(
        folder / "preprocessor_config.json",
        processor_config("image_processor_type", "Qwen2VLImageProcessorFast"),
    )
    write_json(
        folder / "video_preprocessor_config.json",
        processor_config("video_processor_type", "Qwen3VLVideoProcessor"),
    )


def to_disk(tensor: Tensor) -> Tensor:
    """Return the tensor as it is stored: BF16, contiguous."""
    return tensor.detach().to(torch.bfloat16).contiguous()


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write canonical, readable JSON."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def fresh_folder(path: Path) -> Path:
    """Return an empty folder beside `path`, to be moved there once it is whole."""
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def put_in_place(partial: Path, path: Path) -> None:
    """Replace `path`; safetensors makes files private to their owner, and a container has another user."""
    for file in partial.iterdir():
        file.chmod(0o644)
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)
