"""Tensors of a checkpoint as torch tensors, and modules filled with them.

    weights = Weights(model)
    found = weights.below("model.language_model.layers.3.")     # name → tensor, on the CPU
    fill(module, "model.language_model.layers.3.", found)

Reading keeps nothing in the page cache: each weight is read once, and there are more of them
than memory.
"""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from recipes.formats.checkpoint import CheckpointError, Location
from recipes.formats.master import Master
from recipes.formats.nvfp4 import U8
from recipes.formats.step import Exit, StepError

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "U8": torch.uint8, "F8_E4M3": torch.float8_e4m3fn}
PLAIN = (torch.bfloat16, torch.float32)
# The forward pass widens it anyway; engines hold it so where the checkpoint does.
KEPT_WIDE = ("A_log",)

READERS, PIECE = 4, 64 << 20

Tensors = Mapping[str, torch.Tensor]


class Weights:
    """The tensors of one checkpoint. Every method raises StepError, naming the tensor."""

    def __init__(self, model: Master) -> None:
        self._folder, self._checkpoint = model.folder, model.checkpoint

    def below(self, prefix: str) -> Tensors:
        """Read every tensor whose name begins with ``prefix``."""
        return self.read(name for name in self._checkpoint.tensors if name.startswith(prefix))

    def read(self, names: Iterable[str]) -> Tensors:
        """Read tensors by name, a few pieces at once: memory and good disks are faster than one thread."""
        places = {name: self._place(name) for name in names}
        found = {name: torch.empty(place.tensor.nbytes, dtype=torch.uint8) for name, place in places.items()}
        with ThreadPoolExecutor(READERS) as readers:
            pieces = [
                readers.submit(self._fill, name, place, begin, found[name].numpy()[begin : begin + PIECE])
                for name, place in places.items()
                for begin in range(0, place.tensor.nbytes, PIECE)
            ]
        for piece in pieces:
            piece.result()
        return {
            name: data.view(DTYPES[places[name].tensor.dtype]).reshape(places[name].tensor.shape)
            for name, data in found.items()
        }

    def _place(self, name: str) -> Location:
        try:
            place = self._checkpoint.locate(name)
        except CheckpointError as error:
            raise StepError(f"{self._folder.name}: {error}", Exit.CONFIG) from error
        if place.tensor.dtype not in DTYPES:
            wanted = ", ".join(DTYPES)
            raise StepError(
                f"{self._folder.name}: {name}: expected {wanted}, got {place.tensor.dtype}", Exit.CONFIG
            )
        return place

    def _fill(self, name: str, place: Location, begin: int, data: U8) -> None:
        """Fill ``data`` with the bytes of a tensor from ``begin``."""
        offset = self._checkpoint.headers[place.file].data_offset + place.tensor.begin + begin
        with (self._folder / place.file).open("rb", buffering=0) as file:
            file.seek(offset)
            view = data.data
            while view and (count := file.readinto(view)):
                view = view[count:]
            os.posix_fadvise(file.fileno(), offset, data.size, os.POSIX_FADV_DONTNEED)
        if view:
            raise StepError(f"{self._folder.name}: {place.file}: {name}: the file ends early", Exit.CONFIG)


def fill(module: nn.Module, prefix: str, found: Tensors) -> None:
    """Give every parameter of ``module`` its tensor of ``found``, as an engine computes with it.

    Raises StepError for one that is missing, of another shape, or neither BF16 nor F32.
    """
    slots = module.state_dict()
    module.load_state_dict(
        {leaf: _fitting(f"{prefix}{leaf}", slot, found) for leaf, slot in slots.items()},
        strict=True,
        assign=True,
    )


def _fitting(name: str, slot: torch.Tensor, found: Tensors) -> torch.Tensor:
    tensor = found.get(name)
    if tensor is None:
        raise StepError(f"{name}: no such tensor in the checkpoint", Exit.CONFIG)
    if tensor.shape != slot.shape or tensor.dtype not in PLAIN:
        got = f"{tensor.dtype} {list(tensor.shape)}"
        raise StepError(f"{name}: expected BF16 {list(slot.shape)}, got {got}", Exit.CONFIG)
    return tensor if name.endswith(KEPT_WIDE) else tensor.to(torch.bfloat16)
