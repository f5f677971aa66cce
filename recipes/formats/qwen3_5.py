"""Names of a Qwen3.5/3.6 checkpoint: what is where, what fuses.

    layout = parse_layout(config)
    layout.mtp_shapes()["mtp.fc.weight"]        # (hidden, 2 * hidden)
    layout.fused_groups(in_proj_ab=True)[0]     # ("model.language_model.layers.0...", ...)

A body alternates layers of linear attention (8 Linears with their MLP) and full
attention (7 Linears). Linears that read the same input are fused by engines, so they
share one global weight scale and one input scale.

Model type ``qwen3_5`` is the whole model, body below ``model.language_model.``;
``qwen3_5_text`` is the body alone, below ``model.``, with the text config at the top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from recipes.formats import strict_json

MODEL_TYPE = "qwen3_5"
TEXT_MODEL_TYPE = "qwen3_5_text"

BODY_PREFIX = "model.language_model."
TEXT_PREFIX = "model."
VISION_PREFIX = "model.visual."
MTP_PREFIX = "mtp."
MTP_TENSORS = 15
LM_HEAD = "lm_head"
EMBEDDING = "model.language_model.embed_tokens"

# What a config may say of a dimension, and of how often something is repeated: a config of a
# million layers would fill memory with their names.
MOST = 1 << 24
MOST_LAYERS = 1 << 10

LINEAR = "linear_attention"
FULL = "full_attention"

_MLP_GROUPS = (("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",))
_FULL_GROUPS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    *_MLP_GROUPS,
)
_IN_PROJ = ("linear_attn.in_proj_qkv", "linear_attn.in_proj_z")
_IN_PROJ_AB = ("linear_attn.in_proj_a", "linear_attn.in_proj_b")
_VISION_LINEARS = frozenset({"qkv", "proj", "linear_fc1", "linear_fc2"})
_PROJECTIONS = frozenset(
    leaf.rpartition(".")[2] for group in (*_FULL_GROUPS, _IN_PROJ, _IN_PROJ_AB) for leaf in group
) | {"out_proj"}


class Kind(StrEnum):
    """The class of module a tensor belongs to: a line of the ledger."""

    EMBEDDING = "embedding"
    LM_HEAD = "lm_head"
    FULL_ATTENTION = "full_attention"
    LINEAR_ATTENTION = "linear_attention"
    MLP = "mlp"
    NORM = "norm"
    CONV1D = "conv1d"
    VISION = "vision"
    MTP = "mtp"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a config says about names and shapes. ``layers`` is each body layer's type."""

    layers: tuple[str, ...]
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    output_gate: bool
    mtp_layers: int
    tied: bool
    prefix: str = BODY_PREFIX

    def body_linears(self) -> tuple[str, ...]:
        """Return the module names of every Linear of the body, sorted."""
        return tuple(sorted(name for group in self.fused_groups(in_proj_ab=True) for name in group))

    def in_proj_ab(self) -> tuple[str, ...]:
        """Return the module names of the small gates ``in_proj_a`` and ``in_proj_b``, sorted."""
        return tuple(
            sorted(
                f"{self.prefix}layers.{number}.{leaf}"
                for number, kind in enumerate(self.layers)
                if kind == LINEAR
                for leaf in _IN_PROJ_AB
            )
        )

    def fused_groups(self, *, in_proj_ab: bool) -> tuple[tuple[str, ...], ...]:
        """Return the groups of body Linears that share their input, sorted.

        With ``in_proj_ab`` false the gates a and b stay out, as when they are kept BF16.
        """
        return tuple(
            sorted(
                tuple(sorted(f"{self.prefix}layers.{number}.{leaf}" for leaf in group))
                for number, kind in enumerate(self.layers)
                for group in _groups_of(kind, in_proj_ab)
            )
        )

    def mtp_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name → shape of the draft head's tensors: 4 shared ones and 11 a layer."""
        vector = (self.hidden,)
        shapes = {
            "mtp.fc.weight": (self.hidden, 2 * self.hidden),
            "mtp.norm.weight": vector,
            "mtp.pre_fc_norm_embedding.weight": vector,
            "mtp.pre_fc_norm_hidden.weight": vector,
        }
        for number in range(self.mtp_layers):
            layer = self._mtp_layer()
            shapes |= {f"mtp.layers.{number}.{leaf}.weight": shape for leaf, shape in layer.items()}
        return dict(sorted(shapes.items()))

    def mtp_names(self) -> tuple[str, ...]:
        """Return the draft head's tensor names, sorted: 15 for one layer."""
        return tuple(self.mtp_shapes())

    def _mtp_layer(self) -> dict[str, tuple[int, ...]]:
        hidden, query, key = self.hidden, self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (query * (2 if self.output_gate else 1), hidden),
            "self_attn.k_proj": (key, hidden),
            "self_attn.v_proj": (key, hidden),
            "self_attn.o_proj": (hidden, query),
            "self_attn.q_norm": (self.head_dim,),
            "self_attn.k_norm": (self.head_dim,),
            "mlp.gate_proj": (self.intermediate, hidden),
            "mlp.up_proj": (self.intermediate, hidden),
            "mlp.down_proj": (hidden, self.intermediate),
        }


def parse_layout(config: Mapping[str, object], where: str = "config.json") -> Layout:
    """Read the layout from a checkpoint's config.

    Raises ValueError naming ``where`` and the key, for another model type too.
    """
    text = text_config(config, where)
    return Layout(
        layers=_layers(text, where),
        hidden=count(text, "hidden_size", where),
        intermediate=count(text, "intermediate_size", where),
        heads=count(text, "num_attention_heads", where),
        kv_heads=count(text, "num_key_value_heads", where),
        head_dim=count(text, "head_dim", where),
        output_gate=text.get("attn_output_gate", True) is True,
        mtp_layers=_mtp_layers(text, where),
        tied=config.get("tie_word_embeddings", False) is True,
        prefix=BODY_PREFIX if text is not config else TEXT_PREFIX,
    )


def text_config(config: Mapping[str, object], where: str = "config.json") -> Mapping[str, object]:
    """Return the table of ``config`` that describes the body: the config itself for a text model.

    Raises ValueError for another model type.
    """
    kind = config.get("model_type")
    if kind == TEXT_MODEL_TYPE:
        return config
    if kind != MODEL_TYPE:
        raise ValueError(f"{where}: model_type: expected {MODEL_TYPE} or {TEXT_MODEL_TYPE}, got {kind!r}")
    return strict_json.table(config, "text_config", where)


def kind_of(name: str) -> Kind:
    """Return the class of module that tensor ``name`` belongs to."""
    if name.startswith(MTP_PREFIX):
        return Kind.MTP
    if name.startswith(VISION_PREFIX):
        return Kind.VISION
    if name.startswith(f"{LM_HEAD}."):
        return Kind.LM_HEAD
    if name.startswith((f"{EMBEDDING}.", f"{TEXT_PREFIX}embed_tokens.")):
        return Kind.EMBEDDING
    if name.startswith(TEXT_PREFIX):
        return _kind_in_body(name.split("."))
    return Kind.OTHER


def module_of(name: str) -> str:
    """Return the module that tensor ``name`` is a parameter of."""
    return name.rpartition(".")[0]


def is_linear(module: str) -> bool:
    """Whether ``module`` is a Linear, which an engine builds quantized or not.

    Embeddings, norms and convolutions (``conv1d``, the vision tower's patch embedding)
    are built without a quantization config.
    """
    parts = module.split(".")
    leaf = parts[-1]
    if module.startswith(VISION_PREFIX):
        return leaf in _VISION_LINEARS and "patch_embed" not in parts
    if module.startswith((TEXT_PREFIX, MTP_PREFIX)):
        return leaf in _PROJECTIONS or module == "mtp.fc"
    return module == LM_HEAD


def is_linear_attention(module: str) -> bool:
    """Whether ``module`` is a part of linear attention."""
    return ".linear_attn." in module


def is_convolution(module: str) -> bool:
    """Whether ``module`` is a convolution: weights that a quantizer may act on, but no engine fuses."""
    leaf = module.rpartition(".")[2]
    return leaf == "conv1d" or module == f"{VISION_PREFIX}patch_embed.proj"


def count(table: Mapping[str, object], key: str, where: str, most: int = MOST) -> int:
    """Return the whole number under ``key``, from 1 to ``most``.

    Raises ValueError naming ``where`` and the key.
    """
    value = table.get(key)
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"{where}: {key}: expected a whole number from 1 to {most}, got {value!r}")
    return value


def _groups_of(kind: str, in_proj_ab: bool) -> tuple[tuple[str, ...], ...]:
    if kind == FULL:
        return _FULL_GROUPS
    shared = (*_IN_PROJ, *_IN_PROJ_AB) if in_proj_ab else _IN_PROJ
    return (shared, ("linear_attn.out_proj",), *_MLP_GROUPS)


def _kind_in_body(parts: list[str]) -> Kind:
    owner = parts[-2]
    if "norm" in owner:
        return Kind.NORM
    if owner == "conv1d":
        return Kind.CONV1D
    if "self_attn" in parts:
        return Kind.FULL_ATTENTION
    if "linear_attn" in parts:
        return Kind.LINEAR_ATTENTION
    return Kind.MLP if "mlp" in parts else Kind.OTHER


def _mtp_layers(text: Mapping[str, object], where: str) -> int:
    key = "mtp_num_hidden_layers"
    if key not in text:
        return 1
    return 0 if type(text[key]) is int and text[key] == 0 else count(text, key, where, MOST_LAYERS)


def _layers(text: Mapping[str, object], where: str) -> tuple[str, ...]:
    number = count(text, "num_hidden_layers", where, MOST_LAYERS)
    if "layer_types" in text:
        kinds = strict_json.strings(text, "layer_types", where)
    else:
        interval = count(text, "full_attention_interval", where)
        kinds = [LINEAR if (layer + 1) % interval else FULL for layer in range(number)]
    if len(kinds) != number or not set(kinds) <= {LINEAR, FULL}:
        raise ValueError(f"{where}: layer_types: expected {number} of {LINEAR} or {FULL}, got {kinds[:4]}...")
    return tuple(kinds)
