"""Rows of tokens through all layers; a killed run goes on near the layer that it was at.

    last = stream(decoder, batches, folder, "calibrate", watch)     # folder/0064

Memory holds a layer (a GPU two) and a few rows, whatever the size of the model
(``recipes.layerwise.states``).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from recipes.formats import progress
from recipes.layerwise.decoder import Decoder, Layer
from recipes.layerwise.states import Held, Notes, OnDisk, States, fit

Watch = Callable[[Layer], Callable[[], Notes]]
"""Looks at a layer before it runs; what it returns is asked afterwards for what is to be noted."""


def stream(
    decoder: Decoder,
    batches: Sequence[list[int]],
    folder: Path,
    name: str,
    watch: Watch | None = None,
    *,
    batched: bool = False,
) -> Path:
    """Run ``batches`` of token ids through every layer; return the folder of what is left.

    With ``watch`` that is what was noted of all layers, and without it the hidden states after
    the last one. Equal to a pass through the whole model at once, row by row, bit for bit; where
    ``batched`` and a GPU holds all states, several rows run at once and the last bits may differ.
    """
    states: States
    if batched and fit(decoder, batches):
        states = Held(decoder, batches, folder)
    else:
        states = OnDisk(decoder, batches, folder, keep_last=watch is None)
    while states.at < decoder.count:
        progress.update(name, states.at, decoder.count, "layers")
        _through(decoder, states, watch)
    progress.update(name, decoder.count, decoder.count, "layers")
    return states.finish()


def _through(decoder: Decoder, states: States, watch: Watch | None) -> None:
    # A function of its own: a name that outlived it would hold this layer while the next is read.
    with decoder.layer(states.at) as layer:
        noted = watch(layer) if watch else dict[str, float]
        states.through(layer)
        states.settle(noted())
