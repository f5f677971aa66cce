"""The byte budget of a line: what its options make of its sources, before anything is built."""

from recipes.formats import strict_json
from recipes.formats.budget import Budget, plan_budget
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.qwen3_5 import parse_layout
from release.errors import ConfigError
from release.recipe import CHECKPOINTS, Recipe, source_path

CONFIG_FILE = "config.json"


def budget_of(wanted: Recipe) -> Budget | None:
    """Return the budget of ``wanted``, None while a checkpoint is not on this machine.

    Only headers are read. Raises ConfigError naming what cannot be opened or packed.
    """
    sources = {name: wanted.sources[name] for name in CHECKPOINTS}
    if not all(source.startswith("path:") for source in sources.values()):
        return None
    folders = {name: source_path(wanted, source) for name, source in sources.items()}
    try:
        layout = parse_layout(strict_json.read_table(folders["master"] / CONFIG_FILE))
        master, base = (open_checkpoint(folders[name]) for name in ("master", "base"))
        return plan_budget(master, base, layout, wanted.precision)
    except ValueError as error:
        raise ConfigError(
            f"the sources cannot be packed as the recipe asks: {error}",
            why="Nothing was built from them and nothing was changed.",
            hint="fetch or save the checkpoint again, then lock it, or change [quantize] in the recipe",
        ) from error
