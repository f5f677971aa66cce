"""The exporter that streams: a fused group at a time from disk to disk, no model, no torch.

    read a group and find its largest weight → one scale → pack and write it

Both halves run on all cores; while a group is packed, the operating system reads the next
one ahead into the page cache. Memory holds one group and a piece per thread. A finished
shard stays in the step's state: a killed step goes on with the next one.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recipes.formats import progress, strict_json
from recipes.formats.checkpoint import INDEX_FILE, write_index
from recipes.formats.master import Master, open_master
from recipes.formats.nvfp4 import PackError
from recipes.formats.precision import Precision
from recipes.formats.step import Exit, StepError, Workdir
from recipes.formats.unfinished import folder_of_this_boot
from recipes.steps.quantize import configs
from recipes.steps.quantize.kernels.kernel import choose
from recipes.steps.quantize.plan import Body, Copy, Group, parse_size, plan_body
from recipes.steps.quantize.ranges import input_scales, read_ranges
from recipes.steps.quantize.shards import ShardWriter

SHARDS = "shards"
# A progress line for every so many bytes.
TELL_EVERY = 64 << 20


def export(work: Workdir, precision: Precision, max_shard_size: str, *, gpu: bool) -> None:
    """Write the body shard by shard, then its index and configs; ``gpu`` as ``choose`` takes it.

    Raises StepError naming the tensor that NVFP4 cannot hold.
    """
    master = open_master(work.input("master"))
    try:
        body = plan_body(master.checkpoint, _scales(work, precision, master), parse_size(max_shard_size))
    except ValueError as error:
        raise StepError(f"master: {error}", Exit.CONFIG) from error
    folder = _write_shards(work, body, gpu=gpu)
    for shard in body.shards:
        _move(folder / shard.name, work.new(shard.name))
    if len(body.shards) > 1:
        write_index(work.new(INDEX_FILE), body.weight_map, body.total_size)
    _write_configs(work, master, body, precision)


def _scales(
    work: Workdir, precision: Precision, master: Master
) -> Mapping[tuple[str, ...], np.float32 | None]:
    """Return fused group → input scale, None where activations stay as they are."""
    groups = precision.groups(master.layout)
    found = read_ranges(work.input("calibration"), precision, master.layout)
    return input_scales(found, groups) if precision.packs_activations else dict.fromkeys(groups)


def _write_shards(work: Workdir, body: Body, *, gpu: bool) -> Path:
    """Write what an earlier try has not; return the folder of all shards."""
    folder = folder_of_this_boot(work, SHARDS)
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


def _move(source: Path, target: Path) -> None:
    # An engine may mount state/ and out/ apart; then a rename is a copy of one shard.
    shutil.move(source, target)


def _write_configs(work: Workdir, master: Master, body: Body, precision: Precision) -> None:
    kept = (unit.source.name for unit in body.units if isinstance(unit, Copy))
    excluded = configs.exclude_modules(kept, precision.kept(master.layout))
    try:
        config = configs.config(master.config, excluded, precision)
    except ValueError as error:
        raise StepError(f"master: {error}", Exit.CONFIG) from error
    for name, table in (
        (configs.CONFIG_FILE, config),
        (configs.QUANT_CONFIG_FILE, configs.quant_config(excluded, precision)),
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
