"""The body as transformers builds it, and the draft head that transformers leaves out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch import Tensor, nn
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration
from transformers.models.qwen3_5 import modeling_qwen3_5 as qwen3_5

DRAFT_DEPTH = 2  # speculative tokens that the head is trained to give


def gated_delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    chunk_size: int = 64,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    **_: object,
) -> tuple[Tensor, Tensor | None]:
    """Compute gated delta-rule attention by chunks; q, k, v are [B, T, heads, dim], g and beta [B, T, heads].

    Same result as transformers' PyTorch fallback, about four times faster in training: the
    triangular system within a chunk (arXiv 2412.06464) goes to one solver call
    instead of a loop over its rows.
    """
    if initial_state is not None or output_final_state:
        raise NotImplementedError("training only: there is no state to carry")
    if use_qk_l2norm_in_kernel:
        query, key = qwen3_5.l2norm(query, dim=-1, eps=1e-6), qwen3_5.l2norm(key, dim=-1, eps=1e-6)
    length = query.shape[1]
    padding = -length % chunk_size

    def chunked(x: Tensor) -> Tensor:
        """[B, T, heads, ...] to [B, heads, chunks, chunk_size, ...]."""
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, padding))
        return x.unflatten(1, (-1, chunk_size)).movedim(3, 1)

    q, k, v, decay, rate = map(chunked, (query * query.shape[-1] ** -0.5, key, value, g, beta))
    decay = decay.cumsum(-1)
    between = (decay.unsqueeze(-1) - decay.unsqueeze(-2)).tril().exp().tril()
    since_start = decay.exp().unsqueeze(-1)
    weighted_key = k * rate.unsqueeze(-1)
    system = torch.eye(chunk_size) + (weighted_key @ k.mT * between).tril(-1)
    right_side = torch.cat([v * rate.unsqueeze(-1), weighted_key * since_start], -1)
    solved = torch.linalg.solve_triangular(system, right_side, upper=False, unitriangular=True)
    new_value, read_key = solved.split([v.shape[-1], k.shape[-1]], -1)
    within = q @ k.mT * between
    outer_query, write_key = q * since_start, k * (decay[..., -1:] - decay).exp().unsqueeze(-1)
    kept = decay[..., -1].exp()[..., None, None]

    state = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1])
    outputs = []
    for i in range(q.shape[2]):
        written = new_value[:, :, i] - read_key[:, :, i] @ state
        outputs.append(outer_query[:, :, i] @ state + within[:, :, i] @ written)
        state = state * kept[:, :, i] + write_key[:, :, i].mT @ written
    return torch.cat(outputs, 2)[:, :, :length].transpose(1, 2), None


class DraftHead(nn.Module):  # type: ignore[misc]  # the host checks without torch
    """The multi-token prediction head: 15 tensors, named as in the released `mtp.*` block."""

    def __init__(self, config: qwen3_5.Qwen3_5TextConfig) -> None:
        super().__init__()
        # The head's one layer is a full-attention layer: take the index of one in the body.
        layer = qwen3_5.Qwen3_5DecoderLayer(config, config.layer_types.index("full_attention"))
        size, eps = config.hidden_size, config.rms_norm_eps
        self.fc = nn.Linear(2 * size, size, bias=False)
        self.layers = nn.ModuleList([layer])
        self.norm = qwen3_5.Qwen3_5RMSNorm(size, eps=eps)
        self.pre_fc_norm_embedding = qwen3_5.Qwen3_5RMSNorm(size, eps=eps)
        self.pre_fc_norm_hidden = qwen3_5.Qwen3_5RMSNorm(size, eps=eps)
        self.kv_groups = config.num_attention_heads // config.num_key_value_heads

    def initialize(self, std: float) -> None:
        """Draw the weights. Norm scales (1 + weight) are spread over a decade, and mostly below 1.

        A norm that stays near 1 everywhere hides the mistake of adding the 1 twice; with this start
        each channel has its own scale, and the mistake costs acceptance.
        """
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if parameter.ndim == 1:
                    low, high = (0.5, 1.5) if ".self_attn." in name else (0.1, 1.0)
                    span = torch.empty_like(parameter).uniform_(math.log(low), math.log(high))
                    parameter.copy_(span.exp() - 1)
                else:
                    parameter.normal_(std=std)

    def forward(
        self, embedded: Tensor, hidden: Tensor, rotary: qwen3_5.Qwen3_5TextRotaryEmbedding
    ) -> list[Tensor]:
        """Draft `DRAFT_DEPTH` tokens at every position, exactly as the engine runs the head.

        `embedded` and `hidden` are [B, T, size]. The d-th result at position t predicts token
        t + 1 + d. Depth 1 sees the target's hidden states; each further depth gets the head's own
        output, attends to the depth-1 entries up to t and to the entries that it drafted itself.
        """
        batch, length, _ = embedded.shape
        keys: list[Tensor] = []
        values: list[Tensor] = []
        results: list[Tensor] = []
        count = length - DRAFT_DEPTH
        state = hidden[:, :count]
        for depth in range(DRAFT_DEPTH):
            positions = torch.arange(depth, depth + count).expand(3, batch, -1)
            cos, sin = rotary(state, positions)
            token = embedded[:, depth + 1 : depth + 1 + count]
            joined = torch.cat([self.pre_fc_norm_embedding(token), self.pre_fc_norm_hidden(state)], -1)
            state = self._layer(self.fc(joined), cos, sin, keys, values)
            results.append(state)
        return results

    def _layer(self, x: Tensor, cos: Tensor, sin: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        layer = self.layers[0]
        x = x + self._attend(layer.input_layernorm(x), cos, sin, keys, values)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.norm(x)

    def _attend(
        self, x: Tensor, cos: Tensor, sin: Tensor, keys: list[Tensor], values: list[Tensor]
    ) -> Tensor:
        """Attend causally to depth 1, and position by position to every later depth."""
        attention = self.layers[0].self_attn
        heads = (*x.shape[:2], -1, attention.head_dim)
        query, gate = attention.q_proj(x).view(*x.shape[:2], -1, 2 * attention.head_dim).chunk(2, -1)
        query = attention.q_norm(query).transpose(1, 2)
        key = attention.k_norm(attention.k_proj(x).view(heads)).transpose(1, 2)
        query, key = qwen3_5.apply_rotary_pos_emb(query, key, cos, sin)
        keys.append(key.repeat_interleave(self.kv_groups, 1))
        values.append(attention.v_proj(x).view(heads).transpose(1, 2).repeat_interleave(self.kv_groups, 1))

        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = [(query @ keys[0].mT).masked_fill(future, -math.inf)]
        scores += [(query * drafted).sum(-1, keepdim=True) for drafted in keys[1:]]
        weights = (torch.cat(scores, -1) * attention.scaling).softmax(-1)
        mixed = weights[..., : x.shape[1]] @ values[0]
        for i, drafted in enumerate(values[1:]):
            mixed = mixed + weights[..., x.shape[1] + i, None] * drafted
        return attention.o_proj(mixed.transpose(1, 2).flatten(2) * gate.flatten(2).sigmoid())


def build_model(config: Qwen3_5Config) -> Qwen3_5ForConditionalGeneration:
    """Return the model with fresh weights; decay rates start at a long and a short memory."""
    model = Qwen3_5ForConditionalGeneration(config).float()
    for layer in model.model.language_model.layers:
        if hasattr(layer, "linear_attn"):
            heads = layer.linear_attn.num_v_heads
            layer.linear_attn.A_log.data = torch.logspace(math.log10(0.01), math.log10(0.5), heads).log()
    return model
