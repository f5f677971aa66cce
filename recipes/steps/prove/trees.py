"""The four checkpoints that prove compares, opened and checked."""

from dataclasses import dataclass
from pathlib import Path

from recipes.formats import nvfp4, strict_json
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.qwen3_5 import Layout, parse_layout
from recipes.formats.step import Exit, StepError, Workdir

NVFP4 = "nvfp4"
RELEASE_MASTER = "release_master"
BASE = "base"
MASTER = "master"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Both release trees, and the two checkpoints they were made from."""

    nvfp4: Checkpoint
    release_master: Checkpoint
    base: Checkpoint
    master: Checkpoint
    layout: Layout

    @property
    def releases(self) -> tuple[tuple[str, Checkpoint], ...]:
        """The two trees that are published, by their short names."""
        return ((NVFP4, self.nvfp4), ("master", self.release_master))

    def quantized(self) -> tuple[str, ...]:
        """Return the modules of the NVFP4 tree that have any scale, sorted."""
        leaves = {nvfp4.WEIGHT_SCALE, nvfp4.WEIGHT_SCALE_2, nvfp4.INPUT_SCALE}
        found = {module for module, _, leaf in map(_split, self.nvfp4.tensors) if leaf in leaves}
        return tuple(sorted(found))


def open_trees(work: Workdir) -> Trees:
    """Open the four inputs.

    Raises StepError: PROOF for a checkpoint that is truncated or hostile, CONFIG for a
    config of another model.
    """
    opened = {name: _open(work, name) for name in (NVFP4, RELEASE_MASTER, BASE, MASTER)}
    layout = _parse(work.input(MASTER), MASTER)
    return Trees(
        nvfp4=opened[NVFP4],
        release_master=opened[RELEASE_MASTER],
        base=opened[BASE],
        master=opened[MASTER],
        layout=layout,
    )


def _open(work: Workdir, name: str) -> Checkpoint:
    try:
        return open_checkpoint(work.input(name))
    except (ValueError, OSError) as error:
        raise _unreadable(name, error, Exit.PROOF) from error


def _parse(folder: Path, name: str) -> Layout:
    try:
        return parse_layout(strict_json.read_table(folder / "config.json"))
    except ValueError as error:
        raise _unreadable(name, error, Exit.CONFIG) from error


def _unreadable(name: str, error: Exception, code: Exit) -> StepError:
    return StepError(f"{name}: {error}. Nothing can be proved of it; build or fetch it again.", code)


def _split(tensor: str) -> tuple[str, str, str]:
    return tensor.rpartition(".")
