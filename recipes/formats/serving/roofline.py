"""The byte roofline of one stream: how fast memory alone would let it be.

    step = step_bytes(serve, architecture, kinds, context=512)
    limit = tokens_per_second(step.total, bandwidth=273e9, length=2.6)

A single stream reads every weight again for each step and multiplies it once, so it is bound by
memory: no step is shorter than its bytes over the bandwidth (the roofline of Williams, Waterman
and Patterson, doi 10.1145/1498765.1498785, below its ridge). With k draft tokens a step verifies
1 + k tokens by one pass over the body and the output head, and drafts k by k passes over the
draft head and the output head; it yields ``length`` tokens, the acceptance length:

    tokens/s <= bandwidth x length / (body + head + k (draft head + head) + cache + state)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.architecture import Architecture
from recipes.formats.qwen3_5 import LINEAR, Kind
from recipes.formats.serving.budget import BF16_BYTES, matrix_bytes
from recipes.formats.serving.profile import Serve

# Of the embedding a step reads a row a token; the vision tower is not read while decoding.
_NOT_READ = (Kind.EMBEDDING, Kind.VISION, Kind.MTP, Kind.LM_HEAD)
_CACHE_BYTES: Mapping[str | None, int] = {None: BF16_BYTES, "auto": BF16_BYTES, "bfloat16": BF16_BYTES}
_FP8_BYTES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBytes:
    """What one step of one stream moves, in bytes. ``head`` and ``draft_head`` are all their passes."""

    body: int
    head: int
    draft_head: int
    cache: int
    state: int

    @property
    def total(self) -> int:
        """All bytes of a step."""
        return self.body + self.head + self.draft_head + self.cache + self.state


def step_bytes(
    serve: Serve, architecture: Architecture, kinds: Mapping[Kind, int], context: int
) -> StepBytes:
    """Count the bytes of a step at ``context`` tokens, from the ledger's bytes of each class.

    The least that can be: a weight, a cached key or value once a pass, a recurrent state in and out.
    """
    k = serve.speculative_tokens
    # A tied output head is the embedding, read whole.
    head = kinds.get(Kind.LM_HEAD, 0) or kinds.get(Kind.EMBEDDING, 0)
    linear = sum(kind == LINEAR for kind in architecture.layout.layers)
    full = len(architecture.layout.layers) - linear
    return StepBytes(
        body=sum(size for kind, size in kinds.items() if kind not in _NOT_READ),
        head=head * (1 + k),
        draft_head=kinds.get(Kind.MTP, 0) * k,
        # The draft head has one layer of full attention, with a cache of its own.
        cache=_cached(serve, architecture) * context * (full + k),
        state=2 * linear * matrix_bytes(serve, architecture),
    )


def tokens_per_second(step: int, bandwidth: float, length: float) -> float:
    """Return the tokens a second of one stream at the roofline; ``bandwidth`` in bytes a second."""
    return bandwidth / step * length


def _cached(serve: Serve, architecture: Architecture) -> int:
    """Return the bytes of one token's key and value in one layer."""
    layout = architecture.layout
    return 2 * layout.kv_heads * layout.head_dim * _CACHE_BYTES.get(serve.kv_cache_dtype, _FP8_BYTES)
