"""Hidden states between two layers: on the disk, or held on the GPU where they fit.

    states = on_disk(decoder, batches, folder)       # or: held(...)
    states.through(layer, watch)
    states.finish()                                  # folder/0064

Either way a killed run goes on at the last layer whose folder is whole.

    folder/0004/row-00000.bf16 ...    what layer 4 reads
    folder/0004/notes.json            of layers 0 to 3
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from recipes.layerwise.decoder import Decoder, Layer

NOTES_FILE = "notes.json"
PARTIAL = ".partial"
# Of what is free on a GPU: a layer, its successor and what they compute with need the rest.
SHARE = 0.25
# Seconds of work that a kill may cost where the states are held.
SAVE_EVERY = 60.0
# Tokens that run at once where the states are held: enough that the GPU and not Python is waited for.
TOGETHER = 16384

Notes = dict[str, float]


class States(Protocol):
    """The hidden states of all rows before layer ``at``."""

    at: int

    def through(self, layer: Layer) -> None:
        """Run every row through ``layer``, which is layer ``at``."""
        ...

    def settle(self, noted: Notes) -> None:
        """Take what was noted of the layer that all rows have gone through; ``at`` is the next one."""
        ...

    def finish(self) -> Path:
        """Return the folder that holds what is left."""
        ...


def fit(decoder: Decoder, batches: Sequence[list[int]]) -> bool:
    """Whether all states may be held in a GPU's memory, beside the layers."""
    if decoder.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(decoder.device)
    held: int = sum(map(len, batches)) * decoder.model.layout.hidden * 2
    return held <= SHARE * int(free)


class OnDisk:
    """A file a row: memory holds a few rows, whatever their number.

    A row is read while the one before it runs, and written while the next one does. Nothing is
    kept after the last layer where ``keep_last`` is false.
    """

    def __init__(
        self, decoder: Decoder, batches: Sequence[list[int]], folder: Path, *, keep_last: bool
    ) -> None:
        self._decoder, self._rows, self._keep_last = decoder, len(batches), keep_last
        self._folder = folder
        self._source = last_whole(folder) or self._embed(batches)
        self.at = int(self._source.name)

    def through(self, layer: Layer) -> None:
        """Run every row through ``layer``."""
        target = self._target.with_name(f"{self._target.name}{PARTIAL}")
        target.mkdir()
        self._pass(layer, target if self._keep_last or self.at + 1 < self._decoder.count else None)

    def settle(self, noted: Notes) -> None:
        """Give the folder of the next layer its name."""
        target = self._target
        partial = target.with_name(f"{target.name}{PARTIAL}")
        (partial / NOTES_FILE).write_text(json.dumps(notes(self._source) | noted))
        partial.rename(target)
        shutil.rmtree(self._source)
        self._source, self.at = target, self.at + 1

    def finish(self) -> Path:
        """Return the last folder."""
        return self._source

    @property
    def _target(self) -> Path:
        return self._folder / f"{self.at + 1:04d}"

    def _embed(self, batches: Sequence[list[int]]) -> Path:
        return save(self._folder, 0, (self._decoder.embed(tokens) for tokens in batches), {})

    def _pass(self, layer: Layer, target: Path | None) -> None:
        device, hidden = self._decoder.device, self._decoder.model.layout.hidden
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead = reader.submit(read_row, self._source, 0, hidden)
            written: Future[None] | None = None
            for number in range(self._rows):
                before = ahead.result()
                if number + 1 < self._rows:
                    ahead = reader.submit(read_row, self._source, number + 1, hidden)
                after = layer.run(before.to(device))
                if written is not None:
                    written.result()
                # The GPU's result is waited for there, while the next row is sent to it here.
                written = writer.submit(_write, target, number, after) if target else None
            if written is not None:
                written.result()


class Held:
    """All rows in the memory of a GPU, several of them run at once; saved once a minute and at the end.

    Rows of unlike length are filled up at their ends, which no earlier position of a causal model
    sees. A product of more rows may be summed in another order: unlike ``OnDisk``, the last bits are
    not those of a pass row by row.
    """

    def __init__(self, decoder: Decoder, batches: Sequence[list[int]], folder: Path) -> None:
        self._decoder, self._folder = decoder, folder
        self._groups = groups([len(tokens) for tokens in batches], TOGETHER)
        source = last_whole(folder)
        self.at = int(source.name) if source else 0
        self._notes = notes(source) if source else {}
        self._saved, self._saved_at = source, time.monotonic()
        hidden = decoder.model.layout.hidden
        self._rows = [
            read_row(source, number, hidden).to(decoder.device) if source else decoder.embed(tokens)
            for number, tokens in enumerate(batches)
        ]

    def through(self, layer: Layer) -> None:
        """Run every row through ``layer``, as many at once as make ``TOGETHER`` tokens."""
        for group in self._groups:
            rows = [self._rows[number][0] for number in group]
            after = layer.run(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True))
            for place, (number, before) in enumerate(zip(group, rows, strict=True)):
                self._rows[number][0].copy_(after[place, : len(before)])

    def settle(self, noted: Notes) -> None:
        """Save what is held, when it was a while ago or is the last."""
        self.at, self._notes = self.at + 1, self._notes | noted
        if self.at == self._decoder.count or time.monotonic() - self._saved_at > SAVE_EVERY:
            before, self._saved = self._saved, save(self._folder, self.at, self._rows, self._notes)
            self._saved_at = time.monotonic()
            if before is not None:
                shutil.rmtree(before)

    def finish(self) -> Path:
        """Return the folder that was saved last."""
        assert self._saved is not None, "the last layer is always saved"
        return self._saved


def groups(lengths: Sequence[int], together: int) -> list[list[int]]:
    """Return the numbers of rows that run at once: alike in length, ``together`` tokens or one row."""
    found: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
        # The first of a group is its longest: all others are filled up to it.
        if found and (len(found[-1]) + 1) * lengths[found[-1][0]] <= together:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def notes(folder: Path) -> Notes:
    """Return what was noted of the layers before ``folder``."""
    found: Notes = json.loads((folder / NOTES_FILE).read_text())
    return found


def read_row(folder: Path, number: int, hidden: int) -> torch.Tensor:
    """Return the hidden states [1, tokens, hidden] of row ``number``, BF16 on the CPU."""
    bits = np.fromfile(_row(folder, number), np.int16)
    return torch.from_numpy(bits).view(torch.bfloat16).reshape(1, -1, hidden)


def save(folder: Path, at: int, rows: Iterator[torch.Tensor] | Sequence[torch.Tensor], noted: Notes) -> Path:
    """Write the states before layer ``at``; return their folder, which is whole or not there."""
    target = folder / f"{at:04d}"
    partial = target.with_name(f"{target.name}{PARTIAL}")
    partial.mkdir()
    for number, row in enumerate(rows):
        _write(partial, number, row)
    (partial / NOTES_FILE).write_text(json.dumps(noted))
    partial.rename(target)
    return target


def last_whole(folder: Path) -> Path | None:
    """Return the folder of the last finished layer; what was half done after it is thrown away."""
    for partial in folder.glob(f"*{PARTIAL}"):
        shutil.rmtree(partial)
    found = sorted(folder.iterdir())
    for path in found[:-1]:
        shutil.rmtree(path)
    return found[-1] if found else None


def _row(folder: Path, number: int) -> Path:
    return folder / f"row-{number:05d}.bf16"


def _write(folder: Path, number: int, hidden: torch.Tensor) -> None:
    hidden.contiguous().view(torch.int16).cpu().numpy().tofile(_row(folder, number))
