"""Rows of tokens through all layers; a killed run goes on at the layer that it was at.

    last = stream(decoder, batches, folder, "calibrate", watch)     # folder/0064

The hidden states between two layers lie in ``folder``, one file a row, beside what was noted
so far: memory holds one layer and a few rows, whatever the size of the model and the number
of rows. A row is read while the one before it runs, and written while the next one does.

    folder/0004/row-00000.bf16 ...    what layer 4 reads
    folder/0004/notes.json            of layers 0 to 3
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from recipes.formats import progress
from recipes.layerwise.decoder import Decoder, Layer

NOTES_FILE = "notes.json"
PARTIAL = ".partial"

Notes = dict[str, float]
Watch = Callable[[Layer], Callable[[], Notes]]
"""Looks at a layer before it runs; what it returns is asked afterwards for what is to be noted."""


def stream(
    decoder: Decoder, batches: Sequence[list[int]], folder: Path, name: str, watch: Watch | None = None
) -> Path:
    """Run ``batches`` of token ids through every layer; return the folder of what is left.

    With ``watch`` that is what was noted of all layers, and without it the hidden states after
    the last one. Equal to a pass through the whole model at once, bit for bit.
    """
    at = _last_done(folder)
    if at is None:
        at = _embed(decoder, batches, folder)
    for number in range(int(at.name), decoder.count):
        progress.update(name, number, decoder.count, "layers")
        at = _through(decoder, number, at, len(batches), watch)
    progress.update(name, decoder.count, decoder.count, "layers")
    return at


def notes(folder: Path) -> Notes:
    """Return what was noted of the layers before ``folder``."""
    found: Notes = json.loads((folder / NOTES_FILE).read_text())
    return found


def read_row(folder: Path, number: int, hidden: int) -> torch.Tensor:
    """Return the hidden states [1, tokens, hidden] of row ``number``, BF16 on the CPU."""
    bits = np.fromfile(_row(folder, number), np.int16)
    return torch.from_numpy(bits).view(torch.bfloat16).reshape(1, -1, hidden)


def _embed(decoder: Decoder, batches: Sequence[list[int]], folder: Path) -> Path:
    with _whole(folder / "0000") as target:
        for number, tokens in enumerate(batches):
            _write(target, number, decoder.embed(tokens))
        (target / NOTES_FILE).write_text("{}")
    return folder / "0000"


def _through(decoder: Decoder, number: int, source: Path, rows: int, watch: Watch | None) -> Path:
    # A function of its own: a name that outlived it would hold this layer while the next is read.
    with decoder.layer(number) as layer:
        noted = watch(layer) if watch else dict[str, float]
        following = source.with_name(f"{number + 1:04d}")
        with _whole(following) as target:
            wanted = None if watch and number + 1 == decoder.count else target
            _pass(layer, decoder, source, wanted, rows)
            (target / NOTES_FILE).write_text(json.dumps(notes(source) | noted()))
    shutil.rmtree(source)
    return following


def _pass(layer: Layer, decoder: Decoder, source: Path, target: Path | None, rows: int) -> None:
    """Run every row through ``layer``: from folder ``source`` to ``target``, None where nobody reads it."""
    hidden = decoder.model.layout.hidden
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead = reader.submit(read_row, source, 0, hidden)
        written: Future[None] | None = None
        for number in range(rows):
            before = ahead.result()
            if number + 1 < rows:
                ahead = reader.submit(read_row, source, number + 1, hidden)
            after = layer.run(before.to(decoder.device))
            if written is not None:
                written.result()
            # The GPU's result is waited for there, while the next row is sent to it here.
            written = writer.submit(_write, target, number, after) if target else None
        if written is not None:
            written.result()


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


def _row(folder: Path, number: int) -> Path:
    return folder / f"row-{number:05d}.bf16"


def _write(folder: Path, number: int, hidden: torch.Tensor) -> None:
    hidden.contiguous().view(torch.int16).cpu().numpy().tofile(_row(folder, number))
