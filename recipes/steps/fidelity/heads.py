"""From last hidden states to next-token distributions, both models' at once, a few positions at a time.

    found = compare(ours, theirs, read_row(...), read_row(...), tokens)
    found.kl.mean()

Each model has run before and left its hidden states after the last layer, which its output head
turns into logits: a few kilobytes a position that say all of a distribution over a quarter of a
million tokens. Storing the k likeliest log-probabilities instead would leave the tail of the
second distribution unknown, and with it a bound of the size of the tail's mass times its largest
log-ratio, which for 4-bit weights is more than the divergence itself. So nothing is left out:
what is stated is the divergence over the whole vocabulary.

    KL(master || release) = sum over tokens i of p_i (log p_i - log q_i)

Logits are BF16, as transformers and engines compute them; what follows is float64. A sum of V
such terms, each at most |log p_i - log q_i|, is off by at most ROUNDING for logits below 10^3:
relative errors of exp, log and sums are below V * 2^-53 (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 4.2), 3 * 10^-11 at 250,000 tokens, times 10^3.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch import nn

from recipes.formats.qwen3_5 import LM_HEAD
from recipes.layerwise.decoder import Decoder
from recipes.layerwise.packed import PackedLinears
from recipes.layerwise.weights import fill

ROUNDING = 1e-7
"""Nats by which a divergence may be off, for logits below 10^3."""

# Bytes for the logits of some positions; float64 and what is made of it, for both models.
BUDGET = {"cuda": 4 << 30, "cpu": 256 << 20}
COPIES = 8

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One row, position by position [tokens - 1]; log-probabilities are of the token that follows."""

    kl: F64
    master_logprob: F64
    release_logprob: F64
    master_best: I64
    release_best: I64


class Head:
    """The norm and the output head of one model: hidden states [1, n, hidden] → logits [n, vocabulary]."""

    def __init__(self, norm: nn.Module, linear: nn.Module) -> None:
        self.norm, self.linear = norm, linear

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits in BF16."""
        found: torch.Tensor = self.linear(self.norm(hidden))[0]
        return found

    def share(self, other: "Head") -> None:
        """Use the output head of ``other`` where the weights are the same: it is a tenth of a model."""
        mine, its = self.linear, other.linear
        plain = type(mine) is type(its) is nn.Linear
        if plain and mine.weight.shape == its.weight.shape and bool(torch.equal(mine.weight, its.weight)):
            self.linear = its


def open_head(decoder: Decoder, packed: PackedLinears | None) -> Head:
    """Read the norm and the output head; where the model has none of its own, that is the embedding."""
    prefix = f"{LM_HEAD}."
    found = dict(decoder.weights.below(prefix))
    if not found:
        embedding = f"{decoder.model.layout.prefix}embed_tokens.weight"
        found = {f"{prefix}weight": decoder.weights.read([embedding])[embedding]}
    rows = found[f"{prefix}weight"].shape[0]
    with torch.device("meta"):
        own = nn.ModuleDict({LM_HEAD: nn.Linear(decoder.model.layout.hidden, rows, bias=False)})
    if packed is not None:
        packed(own, "", found)
    fill(own, "", found)
    return Head(decoder.norm(), own[LM_HEAD].to(decoder.device))


def compare(ours: Head, theirs: Head, mine: torch.Tensor, other: torch.Tensor, tokens: list[int]) -> Compared:
    """Compare the next-token distributions of the master and the release at each position of a row.

    ``mine`` and ``other`` are hidden states [1, tokens, hidden] on the heads' device.
    """
    vocabulary = ours.logits(mine[:, :1]).shape[-1]
    size = max(1, BUDGET[mine.device.type] // (8 * COPIES * vocabulary))
    following = torch.tensor([*tokens[1:], 0], device=mine.device)
    parts = [
        _positions(ours, theirs, mine[:, at : at + size], other[:, at : at + size], following[at : at + size])
        for at in range(0, len(tokens), size)
    ]
    # The last position predicts a token that is not there.
    kl, first, second, best, best_there = (
        torch.cat(column)[:-1].cpu().numpy() for column in zip(*parts, strict=True)
    )
    return Compared(
        kl=kl, master_logprob=first, release_logprob=second, master_best=best, release_best=best_there
    )


def divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return KL [n] in nats of log-probabilities [n, vocabulary], ``first`` against ``second``."""
    return (first.exp() * (first - second)).sum(-1)


def _positions(
    ours: Head, theirs: Head, mine: torch.Tensor, other: torch.Tensor, following: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        logits = ours.logits(mine), theirs.logits(other)
        best = [found.argmax(-1) for found in logits]
        first, second = (F.log_softmax(found.double(), dim=-1) for found in logits)
        said = [found.gather(1, following[:, None])[:, 0] for found in (first, second)]
        return divergence(first, second), *said, *best
