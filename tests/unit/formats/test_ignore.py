"""vLLM's reading of an ignore list, as measured with its own code."""

import pytest

from recipes.formats.ignore import IgnoreError, kept_by_vllm, rename_for_vllm, vllm_name

LAYER = "model.language_model.layers.0"
FULL = "model.language_model.layers.3"
VISION = (
    "model.visual.blocks.0.attn.qkv",
    "model.visual.blocks.0.mlp.linear_fc1",
    "model.visual.merger.linear_fc1",
)
BODY = (
    f"{LAYER}.linear_attn.in_proj_qkv",
    f"{LAYER}.linear_attn.in_proj_z",
    f"{LAYER}.linear_attn.out_proj",
    f"{LAYER}.mlp.gate_proj",
    f"{FULL}.self_attn.q_proj",
    f"{FULL}.self_attn.o_proj",
)
GATES = (f"{LAYER}.linear_attn.in_proj_a", f"{LAYER}.linear_attn.in_proj_b")
DRAFT = ("mtp.layers.0.self_attn.q_proj", "mtp.layers.0.self_attn.o_proj", "mtp.layers.0.mlp.down_proj")
ALWAYS = (
    "mtp.fc",
    f"{LAYER}.linear_attn.conv1d",
    "model.visual.patch_embed.proj",
    "model.language_model.norm",
)
EVERYTHING = (*VISION, *BODY, *GATES, *DRAFT, *ALWAYS, "lm_head")


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*"], {*VISION, *DRAFT, "lm_head"}),
        (["*model.visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*"], {*DRAFT, "lm_head"}),
        (["lm_head", "model.visual*", "mtp*", "mtp.layers.0*"], {*VISION, *DRAFT, "lm_head"}),
        (["lm_head", "mtp"], {*DRAFT, "lm_head"}),
        (["lm_head", "mtp.layers.0*"], {*DRAFT, "lm_head"}),
        (["lm_head", "re:^mtp.*"], {"lm_head"}),
        (["lm_head", "model.mtp*"], {"lm_head"}),
        (["*in_proj_ba*"], {*GATES}),
        (list(GATES), {*GATES}),
        (["*in_proj_a*", "*in_proj_b*"], set()),  # vLLM asks about in_proj_ba
        (["*in_proj_a"], set()),
        (["model.language_model.layers.0*"], {n for n in (*BODY, *GATES) if n.startswith(LAYER)}),
        ([], set()),
    ],
)
def test_what_is_kept(patterns: list[str], kept: set[str]) -> None:
    assert kept_by_vllm(EVERYTHING, patterns) == kept | set(ALWAYS)


def test_a_part_of_a_fused_module_is_refused_by_name() -> None:
    with pytest.raises(IgnoreError, match=r"layers\.3\.self_attn\.qkv_proj"):
        kept_by_vllm(EVERYTHING, [f"{FULL}.self_attn.q_proj"])
    with pytest.raises(IgnoreError, match=r"in_proj_ba"):
        kept_by_vllm(EVERYTHING, [GATES[0]])


def test_all_parts_of_a_fused_module_are_kept_together() -> None:
    parts = [f"{FULL}.self_attn.{leaf}_proj" for leaf in "qkv"]
    assert kept_by_vllm([*parts, f"{FULL}.self_attn.o_proj"], parts) == set(parts)


def test_names_are_those_vllm_builds() -> None:
    assert vllm_name(GATES[0]) == "language_model.model.layers.0.linear_attn.in_proj_ba"
    assert vllm_name("model.visual.blocks.0.attn.qkv") == "visual.blocks.0.attn.qkv"
    assert vllm_name("lm_head") == "language_model.lm_head"
    assert rename_for_vllm(["model.visual*", "mtp.*", "*x*"]) == [
        "model.visual",
        "visual.*",
        "mtp.*",
        "*x",
        "*x.*",
    ]
