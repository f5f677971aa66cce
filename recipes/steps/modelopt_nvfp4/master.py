"""The master as files: checked before the minutes that loading it takes."""

from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.qwen3_5 import Layout, parse_layout
from recipes.formats.step import Exit, StepError


def load_layout(master: Path) -> Layout:
    """Check the master's headers and return its layout; no weight is read.

    Raises StepError when a file is hostile, or when a tensor is not BF16: loading would
    round it, and it would not leave this step as it came.
    """
    try:
        checkpoint = open_checkpoint(master)
        layout = parse_layout(strict_json.read_table(master / "config.json"))
    except ValueError as error:
        raise StepError(f"master: {error}. Fetch it again, or lock another revision.", Exit.CONFIG) from error
    for name, location in checkpoint.tensors.items():
        if location.tensor.dtype != "BF16":
            dtype = location.tensor.dtype
            raise StepError(f"master: {name}: expected BF16, got {dtype}; it would be rounded", Exit.CONFIG)
    return layout
