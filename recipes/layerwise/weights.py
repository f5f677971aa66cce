"""Tensors of a checkpoint as torch tensors, and modules filled with them.

    weights = Weights(model)
    found = weights.below("model.language_model.layers.3.")     # name → tensor, on the CPU
    fill(module, "model.language_model.layers.3.", found)

Reading keeps nothing in the page cache: each weight is read once, and there are more of them
than memory.
"""

import os
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from recipes.formats.checkpoint import CheckpointError
from recipes.formats.master import Master
from recipes.formats.step import Exit, StepError

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "U8": torch.uint8, "F8_E4M3": torch.float8_e4m3fn}
PLAIN = (torch.bfloat16, torch.float32)
# The forward pass widens it anyway; engines hold it so where the checkpoint does.
KEPT_WIDE = ("A_log",)

Tensors = Mapping[str, torch.Tensor]


class Weights:
    """The tensors of one checkpoint. Every method raises StepError, naming the tensor."""

    def __init__(self, model: Master) -> None:
        self._folder, self._checkpoint = model.folder, model.checkpoint

    def below(self, prefix: str) -> Tensors:
        """Read every tensor whose name begins with ``prefix``."""
        return self.read(name for name in self._checkpoint.tensors if name.startswith(prefix))

    def read(self, names: Iterable[str]) -> Tensors:
        """Read tensors by name."""
        return {name: self._tensor(name) for name in names}

    def _tensor(self, name: str) -> torch.Tensor:
        try:
            place = self._checkpoint.locate(name)
        except CheckpointError as error:
            raise StepError(f"{self._folder.name}: {error}", Exit.CONFIG) from error
        tensor = place.tensor
        if tensor.dtype not in DTYPES:
            wanted = ", ".join(DTYPES)
            raise StepError(
                f"{self._folder.name}: {name}: expected {wanted}, got {tensor.dtype}", Exit.CONFIG
            )
        offset = self._checkpoint.headers[place.file].data_offset + tensor.begin
        data = torch.empty(tensor.nbytes, dtype=torch.uint8)
        with (self._folder / place.file).open("rb", buffering=0) as file:
            file.seek(offset)
            view = memoryview(data.numpy())
            while view and (count := file.readinto(view)):
                view = view[count:]
            os.posix_fadvise(file.fileno(), offset, tensor.nbytes, os.POSIX_FADV_DONTNEED)
        if view:
            raise StepError(f"{self._folder.name}: {place.file}: {name}: the file ends early", Exit.CONFIG)
        return data.view(DTYPES[tensor.dtype]).reshape(tensor.shape)


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
