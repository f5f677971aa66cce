"""Tensors held against tensors, byte for byte, a few megabytes at a time."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from recipes.formats.checkpoint import Checkpoint, Location
from recipes.formats.proofs.depth import Depth
from recipes.formats.safetensors import Tensor

# More readers than this only wait for the disk.
MAX_THREADS = 8


class Comparer:
    """Compares tensors and remembers the answers: several claims ask for the same pair."""

    def __init__(self, depth: Depth) -> None:
        self.depth = depth
        self._known: dict[tuple[Path, Path, str], str] = {}

    def differences(self, names: Iterable[str], ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
        """Yield a flaw for each of ``names`` whose dtype, shape or bytes differ between the two."""
        for name, flaw in self.compare(names, ours, theirs).items():
            if flaw:
                yield f"{name}: {flaw}"

    def compare(self, names: Iterable[str], ours: Checkpoint, theirs: Checkpoint) -> dict[str, str]:
        """Return name → how the tensor differs between two checkpoints, "" where it does not."""
        names = list(names)
        unknown = [name for name in names if (ours.root, theirs.root, name) not in self._known]
        with ThreadPoolExecutor(min(MAX_THREADS, len(os.sched_getaffinity(0)))) as pool:
            found = pool.map(lambda name: self._difference(name, ours, theirs), unknown)
            self._known |= {
                (ours.root, theirs.root, name): flaw for name, flaw in zip(unknown, found, strict=True)
            }
        return {name: self._known[ours.root, theirs.root, name] for name in names}

    def _difference(self, name: str, ours: Checkpoint, theirs: Checkpoint) -> str:
        mine, other = ours.tensors.get(name), theirs.tensors.get(name)
        if mine is None or other is None:
            return "missing here" if mine is None else "not in the checkpoint it is compared with"
        if _kind(mine.tensor) != _kind(other.tensor):
            return f"{_kind(mine.tensor)} here, {_kind(other.tensor)} there"
        if _same_place(mine, ours, other, theirs):
            return ""
        ranges = self.depth.ranges(mine.tensor.nbytes)
        same = all(ours.part(name, *span) == theirs.part(name, *span) for span in ranges)
        return "" if same else "bytes differ"


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _same_place(mine: Location, ours: Checkpoint, other: Location, theirs: Checkpoint) -> bool:
    """Whether both are the same range of the same file on disk, as hard links are."""
    if (mine.tensor.begin, mine.tensor.end) != (other.tensor.begin, other.tensor.end):
        return False
    return (ours.root / mine.file).samefile(theirs.root / other.file)
