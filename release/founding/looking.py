"""What the checkpoints of a new line are, from their configs and headers alone.

A checkpoint that no release can be made of is refused here, before anything is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.architecture import parse_architecture
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.qwen3_5 import FULL, Layout, parse_layout
from release.errors import ConfigError

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A checkpoint on this machine. ``bytes_`` are those of its tensors."""

    layout: Layout
    bytes_: int

    def words(self) -> str:
        """Say what it is in one line."""
        full = self.layout.layers.count(FULL)
        linear = len(self.layout.layers) - full
        return (
            f"{len(self.layout.layers)} layers ({linear} of linear, {full} of full attention), "
            f"hidden size {self.layout.hidden}, {self.bytes_:,} bytes of tensors"
        )


def look(folders: Mapping[str, Path]) -> Mapping[str, Seen]:
    """Look at those of "base" and "master" that are folders.

    Raises ConfigError for an architecture that is not known, a base without draft head, or
    two that do not fit together.
    """
    seen = {name: _look(name, folder) for name, folder in folders.items()}
    if len(seen) == 2 and seen["base"].layout != seen["master"].layout:
        raise ConfigError(
            "base and master are not of one architecture: the draft head of one does not fit the other",
            why=f"base: {seen['base'].words()}; master: {seen['master'].words()}.",
            hint="take the base that the master was trained from",
        )
    return seen


def _look(name: str, folder: Path) -> Seen:
    try:
        config = strict_json.read_table(folder / CONFIG_FILE)
        layout = parse_layout(config)
        parse_architecture(config)
        checkpoint = open_checkpoint(folder)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"--{name} {folder}: {error}",
            why="A release packs, grafts and proves by the names and shapes of the architecture.",
            hint="docs/how-to/new-model.md says which checkpoints a line can be made of",
        ) from error
    if name == "base":
        _require_head(folder, checkpoint, layout)
    return Seen(layout=layout, bytes_=checkpoint.data_bytes)


def _require_head(folder: Path, checkpoint: Checkpoint, layout: Layout) -> None:
    lacking = [tensor for tensor in layout.mtp_names() if tensor not in checkpoint.tensors]
    if lacking:
        raise ConfigError(
            f"--base {folder}: it has no draft head: {lacking[0]} is not in it",
            why="The draft head is grafted from the base; transformers drops it when a model is saved.",
            hint="take the base as its makers published it",
        )
