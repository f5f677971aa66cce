"""Where every byte of the body goes, decided from headers before a weight is read.

    body = plan_body(checkpoint, {("...q_proj", "...k_proj"): scale}, parse_size("5GB"))
    body.shards[0].units       # what to read, in order
    body.shards[0].at["...q_proj.weight_scale"]    # where its bytes go

The order of tensors is that of their names, numbers by value, so the same tensors give the
same bytes however the source is sharded. A fused group is never split over shards: it is
read once, and a shard can be written again without the others.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.checkpoint import SINGLE_FILE, Checkpoint, CheckpointError, shard_name
from recipes.formats.nvfp4 import INPUT_SCALE, WEIGHT, WEIGHT_SCALE, WEIGHT_SCALE_2
from recipes.formats.qwen3_5 import MTP_PREFIX
from recipes.formats.safetensors import ITEM_BYTES, LENGTH_BYTES, Entry, header_bytes, parse_header

UNITS: Mapping[str, int] = {
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
WEIGHT_PARTS = (WEIGHT, WEIGHT_SCALE, WEIGHT_SCALE_2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The bytes of one tensor of the master: ``offset`` counts from the start of its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A tensor that leaves as it came."""

    source: Source

    @property
    def nbytes(self) -> int:
        """The bytes to read."""
        return self.source.nbytes

    def entries(self) -> Iterator[Entry]:
        """Yield what it is in the body."""
        yield Entry(self.source.name, self.source.dtype, self.source.shape, ())


@dataclass(frozen=True, slots=True)
class Group:
    """Weights that share their scales: ``members`` by module name.

    ``input_scale`` None leaves activations as they are.
    """

    members: Mapping[str, Source]
    input_scale: np.float32 | None

    @property
    def nbytes(self) -> int:
        """The bytes to read, and to hold while packing."""
        return sum(source.nbytes for source in self.members.values())

    def entries(self) -> Iterator[Entry]:
        """Yield what it is in the body: four tensors a module, three without an input scale."""
        parts = WEIGHT_PARTS if self.input_scale is None else (*WEIGHT_PARTS, INPUT_SCALE)
        for module, source in self.members.items():
            shapes = nvfp4.shapes(*nvfp4.check_matrix(source.name, source.shape))
            for part in parts:
                yield Entry(f"{module}.{part}", nvfp4.DTYPES[part], shapes[part], ())


Unit: TypeAlias = Copy | Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file of the body: ``start`` is its header's bytes, ``at`` tensor → offset in the file."""

    name: str
    start: bytes
    at: Mapping[str, int]
    size: int
    units: tuple[Unit, ...]

    @property
    def reads(self) -> int:
        """The bytes of the master that it takes."""
        return sum(unit.nbytes for unit in self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The whole body. ``total_size`` is the bytes of all tensors."""

    shards: tuple[Shard, ...]
    total_size: int

    @property
    def units(self) -> Iterator[Unit]:
        """Every unit, in the order of the shards."""
        return (unit for shard in self.shards for unit in shard.units)

    @property
    def weight_map(self) -> dict[str, str]:
        """Tensor → shard."""
        return {name: shard.name for shard in self.shards for name in shard.at}


def plan_body(
    checkpoint: Checkpoint, scales: Mapping[tuple[str, ...], np.float32 | None], max_shard_size: int
) -> Body:
    """Plan the body of the master ``checkpoint``; ``scales`` is fused group → input_scale or None.

    A shard holds at most ``max_shard_size`` bytes of tensors, unless one group or tensor
    is larger. The draft head stays out: grafting brings the base's. Raises ValueError
    naming the tensor that is missing, no BF16 matrix, or in_features not divisible by 16.
    """
    units = _units(checkpoint, scales)
    batches = list(_batches(units, max_shard_size))
    shards = tuple(
        _shard(SINGLE_FILE if len(batches) == 1 else shard_name(number, len(batches)), batch)
        for number, batch in enumerate(batches, 1)
    )
    names = [name for shard in shards for name in shard.at]
    if len(set(names)) != len(names):
        twin = min(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"{twin}: the master has a tensor of this name, and so will its packed weight")
    return Body(shards=shards, total_size=sum(_data_bytes(unit) for unit in units))


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``5GB`` or ``512MiB``. Raises ValueError for another form."""
    match = re.fullmatch(r"([1-9][0-9]*) ?([KMG]i?B)", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"max_shard_size: expected a size such as 5GB or 512MiB, got {text!r}")
    return int(match[1]) * UNITS[match[2].upper()]


def _units(checkpoint: Checkpoint, scales: Mapping[tuple[str, ...], np.float32 | None]) -> list[Unit]:
    groups = [
        Group({module: _weight(checkpoint, module) for module in group}, scale)
        for group, scale in scales.items()
    ]
    packed = {source.name for group in groups for source in group.members.values()}
    copies = [
        Copy(_source(checkpoint, name))
        for name in checkpoint.tensors
        if name not in packed and not name.startswith(MTP_PREFIX)
    ]
    return sorted([*groups, *copies], key=lambda unit: _natural(next(unit.entries()).name))


def _weight(checkpoint: Checkpoint, module: str) -> Source:
    source = _source(checkpoint, f"{module}.{WEIGHT}")
    if source.dtype != "BF16":
        raise CheckpointError(f"{source.name}: expected BF16, got {source.dtype}")
    nvfp4.check_matrix(source.name, source.shape)
    return source


def _source(checkpoint: Checkpoint, name: str) -> Source:
    place = checkpoint.locate(name)
    return Source(
        name=name,
        dtype=place.tensor.dtype,
        shape=place.tensor.shape,
        file=place.file,
        offset=checkpoint.headers[place.file].data_offset + place.tensor.begin,
        nbytes=place.tensor.nbytes,
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _batches(units: Sequence[Unit], limit: int) -> Iterator[list[Unit]]:
    batch: list[Unit] = []
    size = 0
    for unit in units:
        more = _data_bytes(unit)
        if batch and size + more > limit:
            yield batch
            batch, size = [], 0
        batch.append(unit)
        size += more
    yield batch


def _shard(name: str, units: list[Unit]) -> Shard:
    entries = [entry for unit in units for entry in unit.entries()]
    start = header_bytes(entries, name)
    size = len(start) + sum(map(_entry_bytes, entries))
    header = parse_header(start[LENGTH_BYTES:], name, size)
    at = {tensor.name: header.data_offset + tensor.begin for tensor in header.tensors.values()}
    return Shard(name=name, start=start, at=at, size=size, units=tuple(units))


def _data_bytes(unit: Unit) -> int:
    return sum(map(_entry_bytes, unit.entries()))


def _entry_bytes(entry: Entry) -> int:
    return math.prod(entry.shape) * ITEM_BYTES[entry.dtype]
