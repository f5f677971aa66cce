"""The architecture table, read from a checkpoint's ``config.json``; nothing is typed by hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.qwen3_5 import FULL, LINEAR, parse_layout
from release.card.markdown import escape
from release.card.unmeasured import Unmeasured
from release.digest import Json
from release.errors import ConfigError
from release.tables import Table

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Counts and sizes of a hybrid-attention checkpoint. ``context`` is in tokens."""

    name: str
    hidden: int
    layers: int
    interval: int
    full_layers: int
    linear_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    linear_key_heads: int
    linear_value_heads: int
    linear_head_dim: int
    conv_kernel: int
    mtp_layers: int
    vocab: int
    context: int
    vision: bool


def read_config(folder: Path) -> Mapping[str, Json]:
    """Read a tree's config. Raises ConfigError when it is missing or no table."""
    try:
        data: Json = json.loads((folder / CONFIG_FILE).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"tree/{CONFIG_FILE}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"tree/{CONFIG_FILE}: expected a table, got {type(data).__name__}")
    return data


def parse_architecture(config: Mapping[str, Json]) -> Architecture:
    """Parse the architecture. Raises ConfigError naming the key."""
    try:
        layout = parse_layout(config)
    except ValueError as error:
        raise ConfigError(f"tree/{error}") from error
    text = Table(Path("tree") / CONFIG_FILE, config).take_table("text_config")
    architectures = config.get("architectures")
    return Architecture(
        name=str(architectures[0]) if isinstance(architectures, list) and architectures else "qwen3_5",
        hidden=layout.hidden,
        layers=len(layout.layers),
        interval=text.take("full_attention_interval", int),
        full_layers=layout.layers.count(FULL),
        linear_layers=layout.layers.count(LINEAR),
        heads=layout.heads,
        kv_heads=layout.kv_heads,
        head_dim=layout.head_dim,
        linear_key_heads=text.take("linear_num_key_heads", int),
        linear_value_heads=text.take("linear_num_value_heads", int),
        linear_head_dim=text.take("linear_value_head_dim", int),
        conv_kernel=text.take("linear_conv_kernel_dim", int),
        mtp_layers=layout.mtp_layers,
        vocab=text.take("vocab_size", int),
        context=text.take("max_position_embeddings", int),
        vision="vision_config" in config,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What a quantized tree's config says: patterns kept in BF16, weights that share a scale."""

    ignore: tuple[str, ...]
    block: int | Unmeasured
    producer: str | Unmeasured


def parse_quantization(config: Mapping[str, Json]) -> Quantization:
    """Parse ``quantization_config`` of a quantized tree. Raises ConfigError naming the key."""
    table = Table(Path("tree") / CONFIG_FILE, config).take_table("quantization_config")
    group = next(iter(table.take_tables("config_groups").values()), None)
    if group is None:
        raise table.error("config_groups", "one group", "none")
    producer = table.take_table("producer")
    return Quantization(
        ignore=table.take_strings("ignore"),
        block=group.take_table("weights").take("group_size", int),
        producer=escape(f"{producer.take('name', str)} {producer.take('version', str)}"),
    )
