"""The repack proof: what the master packs to is what the file holds, byte for byte.

    flaws = list(repack(master, body, groups, NumpyPacker(), Depth.FULL, told))

Checking takes one pass where packing takes two: the file already says which global scale
it was packed under. Every piece of weights is packed under that scale and compared at once,
and the scale itself is held against the largest weight of the group at the end. Memory is
a few pieces a thread, whatever the size of a tensor. Where the scale is wrong, the modules
under it are packed once more under the right one, so that a flaw names what is wrong and
nothing else.
"""

import os
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from types import TracebackType
from typing import Self

import numpy as np

from recipes.formats import nvfp4
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.nvfp4 import U8, WEIGHT, WEIGHT_SCALE, WEIGHT_SCALE_2
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.packer import Packer
from recipes.formats.safetensors import SafetensorsError

# Bytes of master that a thread packs at a time: few enough to stay in its cache.
PIECE = 1 << 20
# What one task covers: enough to be worth handing to a thread.
RUN = 16 << 20
# Tasks that the kernel reads ahead of each thread, to keep a disk busy while they pack.
AHEAD = 2
# With more threads than this, memory is the limit.
MAX_THREADS = 8
# Bytes of master for each byte of codes and of scales.
_PER_CODE, _PER_SCALE = 4, 32
_BF16_INF = 0x7F80


@dataclass(frozen=True, slots=True)
class _Run:
    """Bytes ``begin`` to ``end`` of a module's weight in the master."""

    module: str
    begin: int
    end: int


@dataclass(slots=True)
class _Seen:
    """What packing some of a module showed."""

    peak: int = 0
    codes: bool = True
    scales: bool = True

    def add(self, other: "_Seen") -> None:
        self.peak = max(self.peak, other.peak)
        self.codes &= other.codes
        self.scales &= other.scales


def repack(
    master: Checkpoint,
    packed: Checkpoint,
    groups: Sequence[Sequence[str]],
    packer: Packer,
    depth: Depth,
    told: Callable[[int, int], None],
) -> Iterator[str]:
    """Yield a flaw for each tensor of ``packed`` that is not what ``master`` packs to.

    ``groups`` are fused groups of module names; ``told`` learns bytes done and bytes to do.
    In a quick look the global scale is only held to be large enough for what was seen.
    """
    flaws = [flaw for group in groups for module in group for flaw in _misfits(module, master, packed)]
    yield from flaws
    if flaws:
        return
    with _Repacker(master, packed, packer, depth) as repacker:
        yield from repacker.flaws(groups, told)


def _misfits(module: str, master: Checkpoint, packed: Checkpoint) -> Iterator[str]:
    """Yield why ``module`` cannot be packed again at all."""
    name = f"{module}.{WEIGHT}"
    tensor = master.locate(name).tensor
    if tensor.dtype != "BF16":
        yield f"{name}: {tensor.dtype} in the master, nothing to pack"
        return
    shapes = nvfp4.shapes(*nvfp4.check_matrix(name, tensor.shape))
    for leaf in (WEIGHT, WEIGHT_SCALE, WEIGHT_SCALE_2):
        found = packed.locate(f"{module}.{leaf}").tensor
        if (found.dtype, found.shape) != (nvfp4.DTYPES[leaf], shapes[leaf]):
            yield f"{module}.{leaf}: not the shape that the master's weight packs to"


class _Repacker:
    """Holds the open files and the threads of one proof."""

    def __init__(self, master: Checkpoint, packed: Checkpoint, packer: Packer, depth: Depth) -> None:
        self._master, self._packed = _Files(master), _Files(packed)
        self._packer, self._depth = packer, depth
        self._threads = min(MAX_THREADS, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads)
        self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._master.close()
        self._packed.close()

    def flaws(self, groups: Sequence[Sequence[str]], told: Callable[[int, int], None]) -> Iterator[str]:
        scales = {module: self._claimed(module) for group in groups for module in group}
        waiting = iter(self._submit([run for module in scales for run in self._runs(module)], scales))
        total = sum(self._master.size(f"{module}.{WEIGHT}") for module in scales)
        done = 0
        for group in groups:
            seen = {module: self._collect(waiting, module) for module in group}
            try:
                scale = nvfp4.scale_of_peaks({f"{module}.{WEIGHT}": seen[module].peak for module in group})
            except nvfp4.PackError as error:
                yield f"the master cannot be packed: {error}"
                continue
            wrong = [module for module in group if not self._is_right(scales[module], scale)]
            yield from (f"{module}.{WEIGHT_SCALE_2}: {_wrong(scales[module], scale)}" for module in wrong)
            yield from self._differing(self._again(wrong, scale, seen))
            done += sum(self._master.size(f"{module}.{WEIGHT}") for module in group)
            told(done, total)

    def _again(self, wrong: Sequence[str], scale: np.float32, seen: dict[str, _Seen]) -> dict[str, _Seen]:
        """Return ``seen``, with ``wrong`` modules packed once more under the right scale."""
        if not wrong or self._depth is Depth.QUICK:
            return {module: found for module, found in seen.items() if module not in wrong}
        runs = [run for module in wrong for run in self._runs(module)]
        waiting = iter(self._submit(runs, dict.fromkeys(wrong, scale)))
        return seen | {module: self._collect(waiting, module) for module in wrong}

    def _differing(self, seen: dict[str, _Seen]) -> Iterator[str]:
        for module, found in seen.items():
            for leaf, same in ((WEIGHT, found.codes), (WEIGHT_SCALE, found.scales)):
                if not same:
                    yield f"{module}.{leaf}: bytes differ from the master's, packed again"

    def _is_right(self, claimed: np.float32 | None, expected: np.float32) -> bool:
        if claimed is None or self._depth is Depth.FULL:
            return claimed is not None and claimed == expected
        return bool(claimed >= expected)

    def _claimed(self, module: str) -> np.float32 | None:
        """Return the global scale that the file says, None when nothing can be packed under it."""
        (value,) = struct.unpack("<f", self._packed.read(f"{module}.{WEIGHT_SCALE_2}"))
        return np.float32(value) if isfinite(value) and value > 0 else None

    def _runs(self, module: str) -> list[_Run]:
        size = self._master.size(f"{module}.{WEIGHT}")
        if self._depth is Depth.QUICK:
            return [_Run(module, begin, end) for begin, end in self._depth.ranges(size)]
        return [_Run(module, begin, min(begin + RUN, size)) for begin in range(0, size, RUN)]

    def _submit(
        self, runs: Sequence[_Run], scales: dict[str, np.float32 | None] | dict[str, np.float32]
    ) -> list[tuple[_Run, Future[_Seen]]]:
        ahead = AHEAD * self._threads
        for run in runs[:ahead]:
            self._read_ahead(run)
        return [
            (run, self._pool.submit(self._pack, run, scales[run.module], runs[n + ahead : n + ahead + 1]))
            for n, run in enumerate(runs)
        ]

    def _collect(self, waiting: Iterator[tuple[_Run, Future[_Seen]]], module: str) -> _Seen:
        seen = _Seen()
        for _ in self._runs(module):
            run, found = next(waiting)
            assert run.module == module, "runs come back in the order they were handed out"
            seen.add(found.result())
        return seen

    def _pack(self, run: _Run, scale: np.float32 | None, later: Iterable[_Run]) -> _Seen:
        for other in later:
            self._read_ahead(other)
        seen = _Seen(codes=scale is not None, scales=scale is not None)
        for begin in range(run.begin, run.end, PIECE):
            seen.add(self._pack_piece(run.module, begin, min(begin + PIECE, run.end), scale))
        return seen

    def _pack_piece(self, module: str, begin: int, end: int, scale: np.float32 | None) -> _Seen:
        buffers = self._buffers()
        size = end - begin
        weight = self._master.read_into(f"{module}.{WEIGHT}", begin, buffers.weight[:size]).view("<u2")
        peak = self._packer.peak(weight)
        if scale is None or peak >= _BF16_INF:
            return _Seen(peak=peak)
        codes, scales = buffers.codes[: size // _PER_CODE], buffers.scales[: size // _PER_SCALE]
        # A wrong scale overflows; that is a flaw, found below, and no warning.
        with np.errstate(all="ignore"):
            self._packer.pack(weight, scale, codes, scales)
        return _Seen(
            peak=peak,
            codes=self._holds(f"{module}.{WEIGHT}", begin // _PER_CODE, codes),
            scales=self._holds(f"{module}.{WEIGHT_SCALE}", begin // _PER_SCALE, scales),
        )

    def _holds(self, name: str, begin: int, expected: U8) -> bool:
        buffers = self._buffers()
        found = self._packed.read_into(name, begin, buffers.found[: expected.size])
        return not np.not_equal(found, expected, out=buffers.differs[: expected.size]).any()

    def _read_ahead(self, run: _Run) -> None:
        self._master.will_need(f"{run.module}.{WEIGHT}", run.begin, run.end)
        self._packed.will_need(f"{run.module}.{WEIGHT}", run.begin // _PER_CODE, run.end // _PER_CODE)
        self._packed.will_need(f"{run.module}.{WEIGHT_SCALE}", run.begin // _PER_SCALE, run.end // _PER_SCALE)

    def _buffers(self) -> "_Buffers":
        found: _Buffers | None = getattr(self._own, "buffers", None)
        if found is None:
            found = self._own.buffers = _Buffers()
        return found


class _Buffers:
    """A thread's own memory: fresh memory costs as much as reading into it."""

    def __init__(self) -> None:
        self.weight = np.empty(PIECE, np.uint8)
        self.codes = np.empty(PIECE // _PER_CODE, np.uint8)
        self.scales = np.empty(PIECE // _PER_SCALE, np.uint8)
        self.found = np.empty(PIECE // _PER_CODE, np.uint8)
        self.differs = np.empty(PIECE // _PER_CODE, np.bool_)


class _Files:
    """A checkpoint's shards, open for reading at any place by any thread."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._open = {file: os.open(checkpoint.root / file, os.O_RDONLY) for file in checkpoint.headers}

    def close(self) -> None:
        for file in self._open.values():
            os.close(file)

    def size(self, name: str) -> int:
        return self._checkpoint.locate(name).tensor.nbytes

    def read(self, name: str) -> bytes:
        return self.read_into(name, 0, np.empty(self.size(name), np.uint8)).tobytes()

    def read_into(self, name: str, begin: int, buffer: U8) -> U8:
        """Fill ``buffer`` with bytes of tensor ``name`` from ``begin``; return it."""
        file, at = self._place(name)
        if os.preadv(self._open[file], [buffer.data], at + begin) != buffer.size:
            raise SafetensorsError(file, name, f"{buffer.size} bytes at {begin}", "end of file")
        return buffer

    def will_need(self, name: str, begin: int, end: int) -> None:
        file, at = self._place(name)
        os.posix_fadvise(self._open[file], at + begin, end - begin, os.POSIX_FADV_WILLNEED)

    def _place(self, name: str) -> tuple[str, int]:
        place = self._checkpoint.locate(name)
        return place.file, self._checkpoint.headers[place.file].data_offset + place.tensor.begin


def _wrong(claimed: np.float32 | None, expected: np.float32) -> str:
    got = "no positive number" if claimed is None else f"{claimed:.9g}"
    return f"expected {expected:.9g}, which the master packs to, got {got}"
