"""Largest inputs of every Linear, layer by layer.

peaks = measure(decoder, batches, folder)      # {"...layers.0.mlp.up_proj": 3.5, ...}
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from recipes.layerwise.decoder import Decoder, Layer
from recipes.layerwise.states import Notes, notes
from recipes.layerwise.streaming import stream

Peaks = Notes


def measure(decoder: Decoder, batches: Sequence[list[int]], folder: Path) -> Peaks:
    """Return Linear → largest |input| over all ``batches`` of token ids, NaN where one was NaN.

    ``folder`` holds what is unfinished; memory holds one layer and a few rows.
    """
    return notes(stream(decoder, batches, folder, "calibrate", lambda layer: _Watch(layer).peaks))


class _Watch:
    """Sees every input of every Linear of a layer."""

    def __init__(self, layer: Layer) -> None:
        self._peaks: dict[str, torch.Tensor] = {}
        for name, linear in layer.linears.items():
            linear.register_forward_pre_hook(self._hook(name))

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def see(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            # Both keep NaN, and both are exact.
            peak = inputs[0].detach().abs().amax()
            self._peaks[name] = torch.maximum(self._peaks[name], peak) if name in self._peaks else peak

        return see

    def peaks(self) -> Peaks:
        """Return what was seen so far."""
        return {name: float(peak.float()) for name, peak in self._peaks.items()}
