"""The exporter that streams: a fused group at a time from disk to disk, no model, no torch.

    read a group and find its largest weight → one scale → pack and write it

Both halves run on all cores; while a group is packed, the operating system reads the next
one ahead into the page cache. Memory holds one group and a piece per thread. A finished
shard stays in the step's state: a killed step goes on with the next one.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from recipes.formats import progress, strict_json
from recipes.formats.checkpoint import INDEX_FILE, Checkpoint, open_checkpoint, write_index
from recipes.formats.nvfp4 import PackError
from recipes.formats.qwen3_5 import Layout, parse_layout
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.modelopt_nvfp4.rules import InProjAb, Rules, expected_modules, fused_groups, refuse_kept
from recipes.steps.quantize import configs
from recipes.steps.quantize.kernels.kernel import choose
from recipes.steps.quantize.plan import Body, Copy, Group, parse_size, plan_body
from recipes.steps.quantize.ranges import input_scales, read_ranges
from recipes.steps.quantize.shards import ShardWriter

SHARDS = "shards"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A progress line for every so many bytes.
TELL_EVERY = 64 << 20


def export(work: Workdir, rules: Rules, max_shard_size: str, *, gpu: bool) -> None:
    """Write the body shard by shard, then its index and configs.

    Raises StepError naming the tensor that NVFP4 cannot hold.
    """
    config, layout, master = _open(work.input("master"))
    modules = expected_modules(layout, rules)
    refuse_kept(modules, rules)
    found = read_ranges(work.input("calibration"), modules)
    scales = input_scales(found, fused_groups(layout, rules))
    try:
        body = plan_body(master, scales, parse_size(max_shard_size))
    except ValueError as error:
        raise StepError(f"master: {error}", Exit.CONFIG) from error
    folder = _write_shards(work, body, gpu=gpu)
    for shard in body.shards:
        _move(folder / shard.name, work.new(shard.name))
    if len(body.shards) > 1:
        write_index(work.new(INDEX_FILE), body.weight_map, body.total_size)
    _write_configs(work, config, body, () if rules.in_proj_ab is InProjAb.NVFP4 else layout.in_proj_ab())


def _open(folder: Path) -> tuple[Mapping[str, object], Layout, Checkpoint]:
    """Return the master's config, its layout and its headers. Raises StepError for a hostile file."""
    try:
        config = strict_json.read_table(folder / configs.CONFIG_FILE)
        return config, parse_layout(config), open_checkpoint(folder)
    except ValueError as error:
        raise StepError(f"master: {error}. Fetch it again, or lock another revision.", Exit.CONFIG) from error


def _write_shards(work: Workdir, body: Body, *, gpu: bool) -> Path:
    """Write what an earlier try has not; return the folder of all shards."""
    folder = _folder_of_this_boot(work.state / SHARDS)
    kernel = choose(sum(unit.nbytes for unit in body.units if isinstance(unit, Group)), gpu=gpu)
    told = _Progress(f"pack ({kernel.name})", sum(shard.reads for shard in body.shards))
    try:
        with ShardWriter(work.input("master"), folder, body, kernel, told.advance) as writer:
            done = [shard for shard in body.shards if writer.is_written(shard)]
            told.advance(sum(shard.reads for shard in done))
            writer.write([shard for shard in body.shards if shard not in done])
    except PackError as error:
        raise StepError(f"master: {error}") from error
    return folder


def _folder_of_this_boot(shards: Path) -> Path:
    """Return the folder for finished shards: after a reboot nobody knows what of them reached the disk."""
    folder = shards / BOOT_ID.read_text().strip()
    if shards.exists() and not folder.exists():
        shutil.rmtree(shards)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _move(source: Path, target: Path) -> None:
    # An engine may mount state/ and out/ apart; then a rename is a copy of one shard.
    shutil.move(source, target)


def _write_configs(
    work: Workdir, master: Mapping[str, object], body: Body, kept_gates: tuple[str, ...]
) -> None:
    kept = (unit.source.name for unit in body.units if isinstance(unit, Copy))
    excluded = configs.exclude_modules(kept, kept_gates)
    try:
        config = configs.config(master, excluded)
    except ValueError as error:
        raise StepError(f"master: {error}", Exit.CONFIG) from error
    for name, table in (
        (configs.CONFIG_FILE, config),
        (configs.QUANT_CONFIG_FILE, configs.quant_config(excluded)),
    ):
        work.new(name).write_text(strict_json.dumps(table), encoding="utf-8")


class _Progress:
    """Adds up bytes read and tells the host now and then."""

    def __init__(self, at: str, total: int) -> None:
        self._at, self._total = at, total
        self._done = self._told = 0

    def advance(self, nbytes: int) -> None:
        self._done += nbytes
        if self._done - self._told >= TELL_EVERY or self._done == self._total:
            progress.update(self._at, self._done, self._total, "B")
            self._told = self._done
