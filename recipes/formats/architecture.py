"""Every tensor that a config implies, by name and shape: what a complete checkpoint holds.

    architecture = parse_architecture(config)
    shapes = architecture.shapes()
    shapes["model.language_model.layers.0.linear_attn.conv1d.weight"]    # (10240, 1, 4)
    len(shapes)                                                          # 1199 for the 27B

Shapes are those of unpacked weights; what a packed Linear becomes is ``packing``'s matter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipes.formats import strict_json
from recipes.formats.qwen3_5 import (
    LINEAR,
    LM_HEAD,
    MOST_LAYERS,
    VISION_PREFIX,
    Layout,
    count,
    parse_layout,
    text_config,
)

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """The vision tower. ``deepstack`` is the number of mergers beside the last one."""

    depth: int
    hidden: int
    intermediate: int
    out: int
    patch: tuple[int, int, int, int]
    positions: int
    merge: int
    deepstack: int

    def shapes(self) -> Shapes:
        """Return name → shape, sorted: 12 tensors a block, 9 around them."""
        wide = self.hidden * self.merge**2
        found: Shapes = {
            "pos_embed.weight": (self.positions, self.hidden),
            "patch_embed.proj.weight": (self.hidden, *self.patch),
            "patch_embed.proj.bias": (self.hidden,),
            **_merger("merger", self.hidden, wide, self.out),
        }
        for number in range(self.deepstack):
            found |= _merger(f"deepstack_merger_list.{number}", wide, wide, self.out)
        for number in range(self.depth):
            found |= {f"blocks.{number}.{leaf}": shape for leaf, shape in self._block().items()}
        return {f"{VISION_PREFIX}{name}": shape for name, shape in sorted(found.items())}

    def _block(self) -> Shapes:
        linears = {
            "attn.qkv": (3 * self.hidden, self.hidden),
            "attn.proj": (self.hidden, self.hidden),
            "mlp.linear_fc1": (self.intermediate, self.hidden),
            "mlp.linear_fc2": (self.hidden, self.intermediate),
        }
        return dict(_biased(linears | {"norm1": (self.hidden,), "norm2": (self.hidden,)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a config says of a whole model. ``vision`` is None for a text model.

    ``conv`` is the width of the convolution in linear attention; keys and values count
    heads and a head's dimension.
    """

    layout: Layout
    vocab: int
    conv: int
    keys: tuple[int, int]
    values: tuple[int, int]
    vision: Vision | None

    def shapes(self) -> Shapes:
        """Return name → shape of every tensor, draft head and vision tower included."""
        layout = self.layout
        found: Shapes = {
            f"{layout.prefix}embed_tokens.weight": (self.vocab, layout.hidden),
            f"{layout.prefix}norm.weight": (layout.hidden,),
            **({} if layout.tied else {f"{LM_HEAD}.weight": (self.vocab, layout.hidden)}),
            **layout.mtp_shapes(),
            **(self.vision.shapes() if self.vision else {}),
        }
        for number, kind in enumerate(layout.layers):
            layer = self._linear_attention() if kind == LINEAR else self._full_attention()
            layer |= self._around()
            found |= {f"{layout.prefix}layers.{number}.{leaf}": shape for leaf, shape in layer.items()}
        return dict(sorted(found.items()))

    def _linear_attention(self) -> Shapes:
        (key_heads, key_dim), (value_heads, value_dim) = self.keys, self.values
        hidden, value = self.layout.hidden, value_heads * value_dim
        mixed = 2 * key_heads * key_dim + value
        return {
            "linear_attn.A_log": (value_heads,),
            "linear_attn.dt_bias": (value_heads,),
            "linear_attn.conv1d.weight": (mixed, 1, self.conv),
            "linear_attn.in_proj_a.weight": (value_heads, hidden),
            "linear_attn.in_proj_b.weight": (value_heads, hidden),
            "linear_attn.in_proj_qkv.weight": (mixed, hidden),
            "linear_attn.in_proj_z.weight": (value, hidden),
            "linear_attn.norm.weight": (value_dim,),
            "linear_attn.out_proj.weight": (hidden, value),
        }

    def _full_attention(self) -> Shapes:
        layout = self.layout
        query, key = layout.heads * layout.head_dim, layout.kv_heads * layout.head_dim
        return {
            "self_attn.q_proj.weight": (query * (2 if layout.output_gate else 1), layout.hidden),
            "self_attn.k_proj.weight": (key, layout.hidden),
            "self_attn.v_proj.weight": (key, layout.hidden),
            "self_attn.o_proj.weight": (layout.hidden, query),
            "self_attn.q_norm.weight": (layout.head_dim,),
            "self_attn.k_norm.weight": (layout.head_dim,),
        }

    def _around(self) -> Shapes:
        hidden, intermediate = self.layout.hidden, self.layout.intermediate
        return {
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
            "mlp.gate_proj.weight": (intermediate, hidden),
            "mlp.up_proj.weight": (intermediate, hidden),
            "mlp.down_proj.weight": (hidden, intermediate),
        }


def parse_architecture(config: Mapping[str, object], where: str = "config.json") -> Architecture:
    """Read the architecture from a checkpoint's config.

    Raises ValueError naming ``where`` and the key.
    """
    text = text_config(config, where)
    return Architecture(
        layout=parse_layout(config, where),
        vocab=count(text, "vocab_size", where),
        conv=count(text, "linear_conv_kernel_dim", where),
        keys=(count(text, "linear_num_key_heads", where), count(text, "linear_key_head_dim", where)),
        values=(count(text, "linear_num_value_heads", where), count(text, "linear_value_head_dim", where)),
        vision=None if text is config else _vision(strict_json.table(config, "vision_config", where), where),
    )


def _vision(table: Mapping[str, object], where: str) -> Vision:
    where = f"{where}: vision_config"
    deepstack = table.get("deepstack_visual_indexes", [])
    if not isinstance(deepstack, list) or len(deepstack) > MOST_LAYERS:
        raise ValueError(
            f"{where}: deepstack_visual_indexes: expected a list of layers, got {deepstack!r:.80}"
        )
    side = count(table, "patch_size", where)
    return Vision(
        depth=count(table, "depth", where, MOST_LAYERS),
        hidden=count(table, "hidden_size", where),
        intermediate=count(table, "intermediate_size", where),
        out=count(table, "out_hidden_size", where),
        patch=(count(table, "in_channels", where), count(table, "temporal_patch_size", where), side, side),
        positions=count(table, "num_position_embeddings", where),
        merge=count(table, "spatial_merge_size", where),
        deepstack=len(deepstack),
    )


def _merger(name: str, normed: int, wide: int, out: int) -> Shapes:
    parts: Shapes = {"norm": (normed,), "linear_fc1": (wide, wide), "linear_fc2": (out, wide)}
    return {f"{name}.{leaf}": shape for leaf, shape in _biased(parts)}


def _biased(parts: Mapping[str, Shape]) -> Iterator[tuple[str, Shape]]:
    for leaf, shape in parts.items():
        yield f"{leaf}.weight", shape
        yield f"{leaf}.bias", shape[:1]
