"""Names, shapes and groups of the 27B checkpoint and of small ones."""

import math
from typing import Any

import pytest

from recipes.formats.qwen3_5 import Kind, is_linear, kind_of, parse_layout

BIG: dict[str, Any] = {
    "model_type": "qwen3_5",
    "text_config": {
        "attn_output_gate": True,
        "full_attention_interval": 4,
        "head_dim": 256,
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "mtp_num_hidden_layers": 1,
        "num_attention_heads": 24,
        "num_hidden_layers": 64,
        "num_key_value_heads": 4,
    },
}


def test_the_27b_draft_head_is_15_tensors_of_424699392_parameters() -> None:
    shapes = parse_layout(BIG).mtp_shapes()
    assert len(shapes) == 15
    assert shapes["mtp.fc.weight"] == (5120, 10240)
    assert shapes["mtp.layers.0.self_attn.q_proj.weight"] == (12288, 5120)
    assert sum(math.prod(shape) for shape in shapes.values()) == 424_699_392


def test_the_27b_body_is_496_linears_in_256_groups() -> None:
    layout = parse_layout(BIG)
    assert len(layout.body_linears()) == 496
    assert len(layout.fused_groups(in_proj_ab=True)) == 256
    assert len(layout.in_proj_ab()) == 96
    kept = {name for group in layout.fused_groups(in_proj_ab=False) for name in group}
    assert set(layout.body_linears()) - kept == set(layout.in_proj_ab())


def test_linears_that_read_one_input_are_one_group() -> None:
    groups = parse_layout(BIG).fused_groups(in_proj_ab=True)
    layer = "model.language_model.layers.0"
    assert tuple(f"{layer}.linear_attn.in_proj_{leaf}" for leaf in ("a", "b", "qkv", "z")) in groups
    assert (f"{layer}.mlp.gate_proj", f"{layer}.mlp.up_proj") in groups
    full = "model.language_model.layers.3.self_attn"
    assert (f"{full}.k_proj", f"{full}.q_proj", f"{full}.v_proj") in groups


def test_listed_layer_types_win_over_the_interval() -> None:
    text = BIG["text_config"] | {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}
    assert parse_layout(BIG | {"text_config": text}).layers == ("full_attention", "full_attention")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mtp.norm.weight", Kind.MTP),
        ("model.visual.blocks.0.norm1.weight", Kind.VISION),
        ("lm_head.weight", Kind.LM_HEAD),
        ("model.language_model.embed_tokens.weight", Kind.EMBEDDING),
        ("model.language_model.norm.weight", Kind.NORM),
        ("model.language_model.layers.3.self_attn.q_norm.weight", Kind.NORM),
        ("model.language_model.layers.3.self_attn.q_proj.weight_scale_2", Kind.FULL_ATTENTION),
        ("model.language_model.layers.0.linear_attn.A_log", Kind.LINEAR_ATTENTION),
        ("model.language_model.layers.0.linear_attn.norm.weight", Kind.NORM),
        ("model.language_model.layers.0.linear_attn.conv1d.weight", Kind.CONV1D),
        ("model.language_model.layers.0.mlp.up_proj.weight", Kind.MLP),
        ("something.weight", Kind.OTHER),
    ],
)
def test_every_tensor_has_a_class(name: str, kind: Kind) -> None:
    assert kind_of(name) is kind


@pytest.mark.parametrize(
    ("module", "linear"),
    [
        ("lm_head", True),
        ("mtp.fc", True),
        ("mtp.layers.0.mlp.down_proj", True),
        ("mtp.norm", False),
        ("model.visual.blocks.0.attn.qkv", True),
        ("model.visual.patch_embed.proj", False),
        ("model.visual.pos_embed", False),
        ("model.language_model.embed_tokens", False),
        ("model.language_model.layers.0.linear_attn.conv1d", False),
        ("model.language_model.layers.0.linear_attn.in_proj_a", True),
        ("model.language_model.layers.0.linear_attn.out_proj", True),
    ],
)
def test_linears_are_told_from_the_rest(module: str, linear: bool) -> None:
    assert is_linear(module) is linear


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", None),
        ("hidden_size", 0),
        ("num_hidden_layers", -1),
        ("head_dim", "256"),
        ("num_attention_heads", True),
        ("num_key_value_heads", 10**9),
        ("layer_types", ["mamba"] * 64),
        ("layer_types", []),
        ("mtp_num_hidden_layers", 1.5),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_key(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"config\.json: {key}"):
        parse_layout(BIG | {"text_config": BIG["text_config"] | {key: value}})


def test_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="model_type"):
        parse_layout({"model_type": "llama"})
