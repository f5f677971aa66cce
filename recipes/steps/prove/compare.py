"""Tensors held against tensors, byte for byte, a few megabytes at a time."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from recipes.formats.checkpoint import Checkpoint, Location
from recipes.formats.safetensors import Tensor


def differences(names: Iterable[str], ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    """Yield a flaw for each of ``names`` whose dtype, shape or bytes differ between the two."""
    for name in names:
        flaw = difference(name, ours, theirs)
        if flaw:
            yield f"{name}: {flaw}"


def difference(name: str, ours: Checkpoint, theirs: Checkpoint) -> str:
    """Return how tensor ``name`` differs between two checkpoints, "" when it does not."""
    mine, other = ours.tensors.get(name), theirs.tensors.get(name)
    if mine is None or other is None:
        return "missing here" if mine is None else "not in the checkpoint it is compared with"
    if _kind(mine.tensor) != _kind(other.tensor):
        return f"{_kind(mine.tensor)} here, {_kind(other.tensor)} there"
    if _same_place(mine, ours, other, theirs):
        return ""
    return "" if _same_bytes(ours.chunks(name), theirs.chunks(name)) else "bytes differ"


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _same_place(mine: Location, ours: Checkpoint, other: Location, theirs: Checkpoint) -> bool:
    """Whether both are the same range of the same file on disk, as hard links are."""
    if (mine.tensor.begin, mine.tensor.end) != (other.tensor.begin, other.tensor.end):
        return False
    return (ours.root / mine.file).samefile(theirs.root / other.file)


def _same_bytes(ours: Iterator[bytes], theirs: Iterator[bytes]) -> bool:
    # Both come in chunks of one size, so equal bytes come in equal chunks.
    return all(mine == other for mine, other in zip_longest(ours, theirs))
