"""How much of each tensor is read: all of it, or a sample for a quick look.

    for begin, end in Depth.QUICK.ranges(checkpoint.locate(name).tensor.nbytes): ...

A sample is the same in every run: whole small tensors, and of large ones pieces that lie
evenly between the first bytes and the last. Ranges begin at multiples of 64 bytes, so that
no block of weights is cut.
"""

from collections.abc import Iterator
from enum import StrEnum

CHUNK = 8 << 20
PIECE = 64 << 10
PIECES = 8
ALIGNED = 64


class Depth(StrEnum):
    """How much is read."""

    FULL = "full"
    QUICK = "quick"

    def ranges(self, nbytes: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges to read of ``nbytes`` bytes, in order."""
        if self is Depth.FULL or nbytes <= PIECE * PIECES:
            yield from ((at, min(at + CHUNK, nbytes)) for at in range(0, nbytes, CHUNK))
            return
        for number in range(PIECES):
            begin = (nbytes - PIECE) * number // (PIECES - 1) // ALIGNED * ALIGNED
            yield begin, begin + PIECE

    @property
    def words(self) -> str:
        """What a finding adds about it."""
        return "" if self is Depth.FULL else " (a sample of each)"
