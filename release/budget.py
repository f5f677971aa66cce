"""What a line will need, counted from headers before anything is built: bytes, and memory to serve."""

from collections.abc import Mapping
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.architecture import parse_architecture
from recipes.formats.byte_budget import ByteBudget, count_bytes, plan_byte_budget
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.params import Table
from recipes.formats.qwen3_5 import Kind, parse_layout
from recipes.formats.serving.budget import Floors, MemoryBudget, memory_budget
from recipes.formats.serving.profile import parse_serve
from release.digest import Json
from release.errors import ConfigError, MachineError
from release.recipe import Recipe

CONFIG_FILE = "config.json"


def byte_budget(wanted: Recipe, checkpoints: Mapping[str, Path]) -> ByteBudget:
    """Return the bytes of both trees, from the headers of the sources' folders.

    Raises ConfigError naming what cannot be opened or packed.
    """
    try:
        layout = parse_layout(strict_json.read_table(checkpoints["master"] / CONFIG_FILE))
        master, base = (open_checkpoint(checkpoints[name]) for name in ("master", "base"))
        return plan_byte_budget(master, base, layout, wanted.precision)
    except ValueError as error:
        raise ConfigError(
            f"the sources cannot be packed as the recipe asks: {error}",
            why="Nothing was built from them and nothing was changed.",
            hint="fetch or save the checkpoint again, then lock it, or change [quantize] in the recipe",
        ) from error


def memory_budgets(
    wanted: Recipe, checkpoints: Mapping[str, Path], counted: ByteBudget, pool: int
) -> Mapping[str, MemoryBudget]:
    """Return the memory of serving both trees, by kind, on a machine that has ``pool`` bytes."""
    floors, base = wanted.smoke.floors, checkpoints["base"]
    served = {"nvfp4": (wanted.serve_nvfp4, counted.nvfp4), "master": (wanted.serve_master, counted.master)}
    return {kind: _memory(base, serve, tree, floors, pool) for kind, (serve, tree) in served.items()}


def memory_of_tree(tree: Path, serve: Mapping[str, Json], floors: Floors, pool: int) -> MemoryBudget:
    """Return the memory of serving ``tree``, from its own headers."""
    return _memory(tree, serve, count_bytes(open_checkpoint(tree)), floors, pool)


def require(name: str, budget: MemoryBudget) -> None:
    """Raise MachineError, with every part of the budget, when it does not fit."""
    if budget.fits:
        return
    parts = ", ".join(f"{size / 1e9:.1f} GB {what}" for what, size in rows(budget))
    raise MachineError(
        f"{name} needs {budget.need / 1e9:.1f} GB of memory ({parts}), and this machine of "
        f"{budget.pool / 1e9:.1f} GB may give {budget.room / 1e9:.1f} GB",
        why=f"{budget.floor / 1e9:.1f} GB stay free: a server that takes the last of unified memory takes "
        "the machine with it.",
        hint="lower kv_cache_bytes, max_num_seqs or speculative_tokens in recipe.toml, or take the state in "
        "bfloat16",
    )


def rows(budget: MemoryBudget) -> tuple[tuple[str, int], ...]:
    """Return the parts of a budget in words, and their bytes."""
    return (
        ("weights", budget.weights),
        ("recurrent state", budget.state),
        ("cache", budget.cache),
        ("overhead", budget.overhead),
    )


def _memory(
    folder: Path, serve: Mapping[str, Json], tensors: Mapping[Kind, int], floors: Floors, pool: int
) -> MemoryBudget:
    try:
        architecture = parse_architecture(strict_json.read_table(folder / CONFIG_FILE))
    except ValueError as error:
        raise ConfigError(f"{folder}: {error}") from error
    return memory_budget(parse_serve(Table("serve", serve)), architecture, tensors, floors, pool)
