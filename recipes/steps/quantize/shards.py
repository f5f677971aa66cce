"""Write planned shards: bytes from the master's files to their places, packed on the way.

    with ShardWriter(master, folder, body, kernel, advance) as writer:
        writer.write([shard for shard in body.shards if not writer.is_written(shard)])

A shard has its own name only when it is whole; until then it is ``<name>.partial``. Nothing
waits for the disk here: the store syncs what it commits, and the kernel holds what was
written for as long as it runs.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.nvfp4 import GROUP_SIZE, INPUT_SCALE, U8, U16, WEIGHT, WEIGHT_SCALE, WEIGHT_SCALE_2
from recipes.formats.step import Exit, StepError
from recipes.steps.quantize.kernels.kernel import Kernel
from recipes.steps.quantize.plan import Body, Copy, Group, Shard, Source, Unit

T = TypeVar("T")

# What a thread reads and packs at a time: whole blocks, and few enough to stay in its cache.
PIECE = 2 << 20
# How far the kernel reads ahead of the threads: enough to keep a disk busy while they pack.
AHEAD = 512 << 20
# With more threads than this, memory is the limit.
MAX_THREADS = 8
PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes ``begin`` to ``end`` of a tensor that lies at ``base`` in the group's buffer."""

    source: Source
    begin: int
    end: int
    base: int = 0

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


class ShardWriter:
    """Writes shards of one body into ``folder``; ``advance`` is told of bytes read.

    Holds one buffer as large as the largest fused group, and ``PIECE`` bytes a thread.
    """

    def __init__(
        self, master: Path, folder: Path, body: Body, kernel: Kernel, advance: Callable[[int], None]
    ) -> None:
        self._folder = folder
        self._kernel = kernel
        self._advance = advance
        self._files = {name: os.open(master / name, os.O_RDONLY) for name in sorted(_files(body))}
        self._pool = ThreadPoolExecutor(min(MAX_THREADS, len(os.sched_getaffinity(0))))
        self._advice = ThreadPoolExecutor(1)
        # One buffer for all groups: fresh memory costs as much as reading into it.
        self._group = np.empty(max(_group_sizes(body), default=0), np.uint8)
        self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._pool, self._advice):
            pool.shutdown(wait=True, cancel_futures=kind is not None)
        for file in self._files.values():
            os.close(file)

    def is_written(self, shard: Shard) -> bool:
        """Tell whether an earlier try of this step has finished ``shard``."""
        path = self._folder / shard.name
        if not path.is_file() or path.stat().st_size != shard.size:
            return False
        with path.open("rb") as file:
            return file.read(len(shard.start)) == shard.start

    def write(self, shards: Sequence[Shard]) -> None:
        """Write ``shards``. Raises PackError naming the tensor that NVFP4 cannot hold."""
        following = chain.from_iterable(shard.units for shard in shards)
        next(following, None)
        for shard in shards:
            self._write_shard(shard, following)

    def _write_shard(self, shard: Shard, following: Iterator[Unit]) -> None:
        partial = self._folder / f"{shard.name}{PARTIAL}"
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.ftruncate(file, shard.size)
            _write(file, shard.start, 0)
            for unit in shard.units:
                self._advise(next(following, None), os.POSIX_FADV_WILLNEED)
                match unit:
                    case Copy(source=source):
                        self._copy(file, shard, source)
                    case Group():
                        self._pack(file, shard, unit)
                self._advise(unit, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
        partial.rename(self._folder / shard.name)

    def _copy(self, file: int, shard: Shard, source: Source) -> None:
        def copy(piece: _Piece) -> int:
            data = self._scratch(piece.nbytes)
            self._read(piece, data)
            _write(file, data, shard.at[source.name] + piece.begin)
            return piece.nbytes

        for done in self._each(copy, list(_pieces(source, 0))):
            self._advance(done)

    def _pack(self, file: int, shard: Shard, group: Group) -> None:
        def read(piece: _Piece) -> int:
            weight = self._in_group(piece)
            self._read(piece, weight.view(np.uint8))
            return self._kernel.peak(weight)

        def pack(piece: _Piece) -> int:
            self._pack_piece(file, shard, piece, scale_2)
            return piece.nbytes

        pieces = list(_pieces_of_group(group))
        peaks = {source.name: 0 for source in group.members.values()}
        for piece, peak in zip(pieces, self._each(read, pieces), strict=True):
            peaks[piece.source.name] = max(peaks[piece.source.name], peak)
        scale_2 = nvfp4.scale_of_peaks(peaks)
        for done in self._each(pack, pieces):
            self._advance(done)
        for module in group.members:
            _write(file, scale_2.tobytes(), shard.at[f"{module}.{WEIGHT_SCALE_2}"])
            if group.input_scale is not None:
                _write(file, group.input_scale.tobytes(), shard.at[f"{module}.{INPUT_SCALE}"])

    def _pack_piece(self, file: int, shard: Shard, piece: _Piece, scale_2: np.float32) -> None:
        weight = self._in_group(piece)
        packed = self._scratch(weight.size // 2 + weight.size // GROUP_SIZE)
        codes, scales = packed[: weight.size // 2], packed[weight.size // 2 :]
        self._kernel.pack(weight, scale_2, codes, scales)
        module, first = piece.source.name.removesuffix(f".{WEIGHT}"), piece.begin // weight.itemsize
        _write(file, codes, shard.at[f"{module}.{WEIGHT}"] + first // 2)
        _write(file, scales, shard.at[f"{module}.{WEIGHT_SCALE}"] + first // GROUP_SIZE)

    def _in_group(self, piece: _Piece) -> U16:
        return self._group[piece.base + piece.begin : piece.base + piece.end].view("<u2")

    def _scratch(self, nbytes: int) -> U8:
        """Return ``nbytes`` of this thread's own piece of memory."""
        if not hasattr(self._own, "memory"):
            self._own.memory = np.empty(PIECE, np.uint8)
        memory: U8 = self._own.memory
        return memory[:nbytes]

    def _read(self, piece: _Piece, data: U8) -> None:
        source, done = piece.source, 0
        while done < piece.nbytes:
            at = source.offset + piece.begin + done
            count = os.preadv(self._files[source.file], [data[done:].data], at)
            if count == 0:
                raise StepError(
                    f"master: {source.file}: {source.name}: end of file at byte {at}", Exit.CONFIG
                )
            done += count

    def _each(self, work: Callable[[_Piece], T], pieces: list[_Piece]) -> Iterable[T]:
        # Most tensors are a norm's few kilobytes: handing them over would cost more than they do.
        return map(work, pieces) if len(pieces) == 1 else self._pool.map(work, pieces)

    def _advise(self, unit: Unit | None, advice: int) -> None:
        """Tell the kernel that the bytes of a large ``unit`` will be, or were, read."""
        if unit is not None and unit.nbytes >= PIECE:
            self._advice.submit(self._advise_now, unit, advice)

    def _advise_now(self, unit: Unit, advice: int) -> None:
        room = AHEAD if advice == os.POSIX_FADV_WILLNEED else unit.nbytes
        for source in _sources(unit):
            os.posix_fadvise(self._files[source.file], source.offset, min(room, source.nbytes), advice)
            room -= min(room, source.nbytes)
            if not room:
                return


def _pieces(source: Source, base: int) -> Iterator[_Piece]:
    for begin in range(0, source.nbytes, PIECE):
        yield _Piece(source, begin, min(begin + PIECE, source.nbytes), base)


def _pieces_of_group(group: Group) -> Iterator[_Piece]:
    base = 0
    for source in group.members.values():
        yield from _pieces(source, base)
        base += source.nbytes


def _sources(unit: Unit) -> tuple[Source, ...]:
    return (unit.source,) if isinstance(unit, Copy) else tuple(unit.members.values())


def _files(body: Body) -> set[str]:
    return {source.file for unit in body.units for source in _sources(unit)}


def _group_sizes(body: Body) -> Iterator[int]:
    return (unit.nbytes for unit in body.units if isinstance(unit, Group))


def _write(file: int, data: bytes | U8, at: int) -> None:
    view = memoryview(data) if isinstance(data, bytes) else data.data
    while view:
        count = os.pwrite(file, view, at)
        view, at = view[count:], at + count
