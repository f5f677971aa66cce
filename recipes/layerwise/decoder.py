"""A model's decoder, one layer in memory at a time.

    decoder = Decoder(master, torch.device("cpu"))
    with decoder.layer(3) as layer:
        after = layer.run(before)          # hidden states [1, tokens, hidden], BF16

A layer runs inside transformers' own text model of one layer, which makes masks and rotary
embeddings as the whole model does: the same operations on the same shapes, so the same bits.
It runs without a cache, which nothing here reads, and no logits are computed.

On a GPU the next layer's weights are read and sent there while a layer runs: it holds two.
"""

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from recipes.formats.master import Master
from recipes.formats.qwen3_5 import LINEAR
from recipes.formats.step import Exit, StepError
from recipes.layerwise.weights import Tensors, Weights, fill

# Where the plain torch code of linear attention is replaced when a fast kernel is installed.
# The convolution before it has four taps: torch's own is used where causal-conv1d is not locked.
KERNELS = ("chunk_gated_delta_rule",)

Adapt = Callable[[nn.Module, str, Tensors], None]
"""Changes a module before its weights are filled in: module, prefix of its names, what was read."""


def _as_it_is(module: nn.Module, prefix: str, found: Tensors) -> None:
    """Leave a module as transformers builds it."""


class Layer:
    """One layer that is in memory. ``linears`` are its Linears by their names in the master."""

    def __init__(self, model: nn.Module, prefix: str) -> None:
        self._model = model
        self.linears = {
            f"{prefix}{name}": module
            for name, module in model.layers[0].named_modules()
            if isinstance(module, nn.Linear)
        }

    def run(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the hidden states [1, tokens, hidden] after this layer."""
        with torch.inference_mode():
            after: torch.Tensor = self._model(inputs_embeds=hidden, use_cache=False).last_hidden_state
        return after


class Decoder:
    """The layers and the embedding of ``model``, on ``device``; ``adapt`` is for packed Linears."""

    def __init__(self, model: Master, device: torch.device, adapt: Adapt = _as_it_is) -> None:
        self.model = model
        self.device = device
        self.weights = Weights(model)
        self._adapt = adapt
        self._config = AutoConfig.from_pretrained(model.folder, local_files_only=True).get_text_config()
        self._reader = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future[Tensors]] = {}

    @property
    def count(self) -> int:
        """How many layers there are."""
        return len(self.model.layout.layers)

    def embed(self, tokens: list[int]) -> torch.Tensor:
        """Return the embeddings [1, tokens, hidden] of token ids; only their rows are read.

        Raises StepError for an id beyond the embedding.
        """
        name = f"{self.model.layout.prefix}embed_tokens.weight"
        place = self.model.checkpoint.locate(name)
        if place.tensor.dtype != "BF16":
            raise StepError(f"{name}: expected BF16, got {place.tensor.dtype}", Exit.CONFIG)
        rows, hidden = place.tensor.shape
        if max(tokens) >= rows:
            raise StepError(f"{name}: token {max(tokens)} of a row, but {rows} embeddings", Exit.CONFIG)
        offset = self.model.checkpoint.headers[place.file].data_offset + place.tensor.begin
        path = self.model.folder / place.file
        table = np.memmap(path, np.uint16, "r", offset, (rows, hidden))
        return torch.from_numpy(table[tokens].view(np.int16)).view(torch.bfloat16)[None].to(self.device)

    @contextmanager
    def layer(self, number: int) -> Iterator[Layer]:
        """Yield layer ``number``; its weights are gone from memory and page cache afterwards."""
        ahead = self._ahead.pop(number, None)
        layer = self._layer(number, ahead.result() if ahead else self._read(number))
        del ahead
        if self.device.type == "cuda" and number + 1 < self.count:
            self._ahead[number + 1] = self._reader.submit(self._read, number + 1)
        yield layer

    def norm(self) -> nn.Module:
        """Return the norm between the last layer and the output head, with its weight."""
        config = copy.deepcopy(self._config)
        config.num_hidden_layers, config.layer_types = 1, [self.model.layout.layers[0]]
        config.vocab_size, config.pad_token_id = 1, None
        with torch.device("meta"):
            norm: nn.Module = AutoModel.from_config(config, dtype=torch.bfloat16).norm
        prefix = f"{self.model.layout.prefix}norm."
        fill(norm, prefix, self.weights.below(prefix))
        return norm.to(self.device).eval()

    def slow_kernels(self) -> tuple[str, ...]:
        """Return the parts of linear attention that run as plain torch code; none without such a layer."""
        kinds = self.model.layout.layers
        if LINEAR not in kinds:
            return ()
        attention = self._empty(kinds.index(LINEAR)).layers[0].linear_attn
        own = type(attention).__module__
        found = {name: getattr(attention, name, None) for name in KERNELS}
        return tuple(name for name, kernel in found.items() if getattr(kernel, "__module__", own) == own)

    def _prefix(self, number: int) -> str:
        return f"{self.model.layout.prefix}layers.{number}."

    def _read(self, number: int) -> Tensors:
        found = self.weights.below(self._prefix(number))
        return self._sent(found) if self.device.type == "cuda" else found

    def _sent(self, found: Tensors) -> Tensors:
        """Send what was read beside what the GPU computes, and wait until it is there."""
        # The memory is the computing stream's own: what it frees, it may use again at once.
        there = {name: torch.empty_like(tensor, device=self.device) for name, tensor in found.items()}
        sending = torch.cuda.Stream(self.device)
        with torch.cuda.stream(sending):
            sending.wait_stream(torch.cuda.default_stream(self.device))
            for name, tensor in found.items():
                there[name].copy_(tensor)
        sending.synchronize()
        return there

    def _layer(self, number: int, found: Tensors) -> Layer:
        # Built here and not where the weights are read: transformers sets the default dtype, which
        # is the whole process's, for as long as it builds.
        model, prefix = self._empty(number), self._prefix(number)
        self._adapt(model.layers[0], prefix, found)
        fill(model.layers[0], prefix, found)
        return Layer(model.to(self.device).eval(), prefix)

    def _empty(self, number: int) -> nn.Module:
        """Return a text model of one layer without weights, and without embedding and last norm."""
        config = copy.deepcopy(self._config)
        config.num_hidden_layers = 1
        config.layer_types = [self.model.layout.layers[number]]
        config.vocab_size, config.pad_token_id = 1, None
        with torch.device("meta"):
            model: nn.Module = AutoModel.from_config(config, dtype=torch.bfloat16)
        model.embed_tokens, model.norm = nn.Identity(), nn.Identity()
        # Its buffers are computed, not loaded.
        model.rotary_emb = type(model.rotary_emb)(config=config)
        return model
