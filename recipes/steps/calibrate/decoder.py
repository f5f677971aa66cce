"""The master's decoder, one layer in memory at a time.

    decoder = Decoder(master, torch.device("cpu"))
    with decoder.layer(3) as layer:
        after = layer.run(before)          # hidden states [1, tokens, hidden], BF16

A layer runs inside transformers' own text model of one layer, which makes masks and rotary
embeddings as the whole model does: the same operations on the same shapes, so the same bits.
It runs without a cache, which nothing here reads, and no logits are computed.
"""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from recipes.formats.checkpoint import CheckpointError
from recipes.formats.master import Master
from recipes.formats.qwen3_5 import LINEAR
from recipes.formats.step import Exit, StepError

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}
# The forward pass widens it anyway; engines hold it so where the checkpoint does.
KEPT_WIDE = ("A_log",)
# Where the plain torch code of linear attention is replaced when a fast kernel is installed.
KERNELS = ("chunk_gated_delta_rule", "causal_conv1d_fn")


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
    """The layers and the embedding of ``master``, on ``device``."""

    def __init__(self, master: Master, device: torch.device) -> None:
        self.master = master
        self.device = device
        self._config = AutoConfig.from_pretrained(master.folder, local_files_only=True).get_text_config()

    def embed(self, tokens: list[int]) -> torch.Tensor:
        """Return the embeddings [1, tokens, hidden] of token ids; only their rows are read.

        Raises StepError for an id beyond the embedding.
        """
        name = f"{self.master.layout.prefix}embed_tokens.weight"
        place = self.master.checkpoint.locate(name)
        rows, hidden = place.tensor.shape
        if max(tokens) >= rows:
            raise StepError(f"{name}: token {max(tokens)} of a row, but {rows} embeddings", Exit.CONFIG)
        offset = self.master.checkpoint.headers[place.file].data_offset + place.tensor.begin
        path = self.master.folder / place.file
        table = np.memmap(path, np.uint16, "r", offset, (rows, hidden))
        return torch.from_numpy(table[tokens].view(np.int16)).view(torch.bfloat16)[None].to(self.device)

    @contextmanager
    def layer(self, number: int) -> Iterator[Layer]:
        """Yield layer ``number``; its weights are gone from memory and page cache afterwards."""
        model, prefix = self._empty(number), f"{self.master.layout.prefix}layers.{number}."
        own = model.layers[0]
        own.load_state_dict(
            {leaf: self._weight(f"{prefix}{leaf}", slot) for leaf, slot in own.state_dict().items()},
            strict=True,
            assign=True,
        )
        yield Layer(model.to(self.device).eval(), prefix)

    def slow_kernels(self) -> tuple[str, ...]:
        """Return the parts of linear attention that run as plain torch code; none without such a layer."""
        kinds = self.master.layout.layers
        if LINEAR not in kinds:
            return ()
        attention = self._empty(kinds.index(LINEAR)).layers[0].linear_attn
        own = type(attention).__module__
        found = {name: getattr(attention, name, None) for name in KERNELS}
        return tuple(name for name, kernel in found.items() if getattr(kernel, "__module__", own) == own)

    def _empty(self, number: int) -> nn.Module:
        """Return a text model of one layer without weights, and without embedding and last norm."""
        config = copy.deepcopy(self._config)
        config.num_hidden_layers = 1
        config.layer_types = [self.master.layout.layers[number]]
        config.vocab_size, config.pad_token_id = 1, None
        with torch.device("meta"):
            model: nn.Module = AutoModel.from_config(config, dtype=torch.bfloat16)
        model.embed_tokens, model.norm = nn.Identity(), nn.Identity()
        # Its buffers are computed, not loaded.
        model.rotary_emb = type(model.rotary_emb)(config=config)
        return model

    def _weight(self, name: str, slot: torch.Tensor) -> torch.Tensor:
        """Read tensor ``name`` as an engine computes with it.

        Raises StepError when it is missing or does not fit ``slot``.
        """
        try:
            place = self.master.checkpoint.locate(name)
        except CheckpointError as error:
            raise StepError(f"master: {error}", Exit.CONFIG) from error
        tensor = place.tensor
        if tensor.shape != tuple(slot.shape) or tensor.dtype not in DTYPES:
            got = f"{tensor.dtype} {list(tensor.shape)}"
            raise StepError(f"master: {name}: expected BF16 {list(slot.shape)}, got {got}", Exit.CONFIG)
        offset = self.master.checkpoint.headers[place.file].data_offset + tensor.begin
        data = torch.empty(tensor.nbytes, dtype=torch.uint8)
        with (self.master.folder / place.file).open("rb", buffering=0) as file:
            file.seek(offset)
            view = memoryview(data.numpy())
            while view and (count := file.readinto(view)):
                view = view[count:]
            os.posix_fadvise(file.fileno(), offset, tensor.nbytes, os.POSIX_FADV_DONTNEED)
        if view:
            raise StepError(f"master: {place.file}: {name}: the file ends early", Exit.CONFIG)
        weight = data.view(DTYPES[tensor.dtype]).reshape(tensor.shape)
        return weight if name.endswith(KEPT_WIDE) else weight.to(torch.bfloat16)
