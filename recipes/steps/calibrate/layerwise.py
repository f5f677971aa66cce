"""Largest inputs of every Linear, layer by layer; a killed run goes on at the layer that it was at.

    peaks = measure(decoder, batches, folder)      # {"...layers.0.mlp.up_proj": 3.5, ...}

The hidden states between two layers lie in ``folder``, one file a row, beside the peaks so
far: memory holds one layer and one row, whatever the size of the model and the number of rows.

    folder/0004/row-00000.bf16 ...    what layer 4 reads
    folder/0004/peaks.json            of layers 0 to 3
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recipes.formats import progress
from recipes.steps.calibrate.decoder import Decoder, Layer

PEAKS_FILE = "peaks.json"
PARTIAL = ".partial"

Peaks = dict[str, float]


def measure(decoder: Decoder, batches: Sequence[list[int]], folder: Path) -> Peaks:
    """Return Linear → largest |input| over all ``batches`` of token ids, NaN where one was NaN.

    Equal to a pass through the whole model at once, bit for bit.
    """
    count = len(decoder.master.layout.layers)
    at = _last_done(folder)
    if at is None:
        at = _embed(decoder, batches, folder)
    for number in range(int(at.name), count):
        progress.update("calibrate", number, count, "layers")
        at = _through(decoder, number, at, len(batches))
    progress.update("calibrate", count, count, "layers")
    return _peaks(at)


def _embed(decoder: Decoder, batches: Sequence[list[int]], folder: Path) -> Path:
    with _whole(folder / "0000") as target:
        for number, tokens in enumerate(batches):
            _write(target, number, decoder.embed(tokens))
        (target / PEAKS_FILE).write_text("{}")
    return folder / "0000"


def _through(decoder: Decoder, number: int, source: Path, rows: int) -> Path:
    # A function of its own: a name that outlived it would hold this layer while the next is read.
    with decoder.layer(number) as layer:
        return _pass(layer, decoder, source, rows, last=number + 1 == len(decoder.master.layout.layers))


def _pass(layer: Layer, decoder: Decoder, source: Path, rows: int, *, last: bool) -> Path:
    """Run every row through ``layer``: from folder ``source`` to the next, which is returned."""
    following = source.with_name(f"{int(source.name) + 1:04d}")
    watch = _Watch(layer)
    # One row is written while the next one runs.
    with _whole(following) as target, ThreadPoolExecutor(1) as writer:
        written: Future[None] | None = None
        for number in range(rows):
            after = layer.run(_read(source, number, decoder))
            if written is not None:
                written.result()
            if not last:
                written = writer.submit(_write, target, number, after.cpu())
        if written is not None:
            written.result()
        (target / PEAKS_FILE).write_text(json.dumps(_peaks(source) | watch.peaks()))
    shutil.rmtree(source)
    return following


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
        return {name: float(peak.float()) for name, peak in self._peaks.items()}


def _last_done(folder: Path) -> Path | None:
    """Return the folder of the last finished layer; what was half done after it is thrown away."""
    for partial in folder.glob(f"*{PARTIAL}"):
        shutil.rmtree(partial)
    found = sorted(folder.iterdir())
    for path in found[:-1]:
        shutil.rmtree(path)
    return found[-1] if found else None


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a folder that gets the name ``folder`` when all is in it."""
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    partial.mkdir()
    yield partial
    partial.rename(folder)


def _peaks(folder: Path) -> Peaks:
    peaks: Peaks = json.loads((folder / PEAKS_FILE).read_text())
    return peaks


def _row(folder: Path, number: int) -> Path:
    return folder / f"row-{number:05d}.bf16"


def _write(folder: Path, number: int, hidden: torch.Tensor) -> None:
    hidden.contiguous().view(torch.int16).cpu().numpy().tofile(_row(folder, number))


def _read(folder: Path, number: int, decoder: Decoder) -> torch.Tensor:
    bits = np.fromfile(_row(folder, number), np.int16)
    hidden = torch.from_numpy(bits).view(torch.bfloat16)
    return hidden.reshape(1, -1, decoder.master.layout.hidden).to(decoder.device)
