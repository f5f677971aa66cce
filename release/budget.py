"""The memory budget of serving a line's trees, for the plan and before a server starts."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.architecture import Architecture, parse_architecture
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.nvfp4 import GROUP_SIZE
from recipes.formats.params import Table
from recipes.formats.qwen3_5 import MTP_PREFIX
from recipes.formats.serving.budget import Budget, Floors, budget_of
from recipes.formats.serving.profile import Serve, parse_serve
from release.digest import Json
from release.errors import ConfigError, MachineError
from release.recipe import Recipe

CONFIG_FILE = "config.json"
SCALARS = 8
"""Bytes of the two global scales of a packed Linear."""


def budgets(wanted: Recipe, checkpoints: Mapping[str, Path], pool: int) -> Mapping[str, Budget]:
    """Return the budget of both trees by kind, from the headers of the sources' folders.

    Raises ConfigError for a source that is no checkpoint of this architecture.
    """
    base, master = checkpoints["base"], checkpoints["master"]
    try:
        architecture = _architecture(base)
        sizes = {**_sizes(open_checkpoint(master)), **_head(open_checkpoint(base))}
    except ValueError as error:
        raise ConfigError(f"{wanted.name}: {error}") from error
    packed = _packed(wanted, architecture, sizes)
    served = {"nvfp4": (wanted.serve_nvfp4, packed), "master": (wanted.serve_master, sizes)}
    return {
        kind: budget_of(_serve(serve), architecture, tree, wanted.smoke.floors, pool)
        for kind, (serve, tree) in served.items()
    }


def budget_of_tree(tree: Path, serve: Mapping[str, Json], floors: Floors, pool: int) -> Budget:
    """Return the budget of serving ``tree``, from its own headers."""
    sizes = _sizes(open_checkpoint(tree))
    return budget_of(_serve(serve), _architecture(tree), sizes, floors, pool)


def require(name: str, budget: Budget) -> None:
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


def rows(budget: Budget) -> tuple[tuple[str, int], ...]:
    """Return the parts of a budget in words, and their bytes."""
    return (
        ("weights", budget.weights),
        ("recurrent state", budget.state),
        ("cache", budget.cache),
        ("overhead", budget.overhead),
    )


def _serve(values: Mapping[str, Json]) -> Serve:
    return parse_serve(Table("serve", values))


def _architecture(tree: Path) -> Architecture:
    return parse_architecture(strict_json.loads_table((tree / CONFIG_FILE).read_bytes(), CONFIG_FILE))


def _sizes(checkpoint: Checkpoint) -> dict[str, int]:
    return {name: location.tensor.nbytes for name, location in checkpoint.tensors.items()}


def _head(base: Checkpoint) -> dict[str, int]:
    return {name: size for name, size in _sizes(base).items() if name.startswith(MTP_PREFIX)}


def _packed(wanted: Recipe, architecture: Architecture, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes after packing: half a byte a weight, a scale for each group, two scalars."""
    layout = architecture.layout
    kept = set() if wanted.in_proj_ab == "nvfp4" else set(layout.in_proj_ab())
    modules = {
        module
        for module in set(layout.body_linears()) - kept
        if not any(fnmatchcase(module, pattern) for pattern in wanted.keep_bf16)
    }
    return {
        name: _packed_size(size) if name.removesuffix(".weight") in modules else size
        for name, size in sizes.items()
    }


def _packed_size(bf16: int) -> int:
    weights = bf16 // 2
    return weights // 2 + weights // GROUP_SIZE + SCALARS
