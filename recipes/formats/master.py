"""The master as files: checked before the minutes that reading its weights takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.qwen3_5 import Layout, parse_layout
from recipes.formats.step import Exit, StepError

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """A BF16 checkpoint that can be packed."""

    folder: Path
    config: Mapping[str, object]
    layout: Layout
    checkpoint: Checkpoint


def open_master(folder: Path) -> Master:
    """Open the master's config and headers; no weight is read.

    Raises StepError when a file is hostile, or when the model is another one.
    """
    try:
        config = strict_json.read_table(folder / CONFIG_FILE)
        return Master(
            folder=folder, config=config, layout=parse_layout(config), checkpoint=open_checkpoint(folder)
        )
    except ValueError as error:
        raise StepError(f"master: {error}. Fetch it again, or lock another revision.", Exit.CONFIG) from error


def require_bf16(master: Master) -> None:
    """Check that every tensor is BF16. Raises StepError naming the first that is not.

    A program that loads the model in BF16 rounds what is not, and writes it so.
    """
    for name, location in master.checkpoint.tensors.items():
        if location.tensor.dtype != "BF16":
            dtype = location.tensor.dtype
            raise StepError(f"master: {name}: expected BF16, got {dtype}; it would be rounded", Exit.CONFIG)
