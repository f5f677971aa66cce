"""SGLang's reading of a modelopt list, by the rules of its source."""

import pytest

from recipes.formats.ignore import IgnoreError
from recipes.formats.ignore_sglang import kept_by_sglang, named_for_sglang
from tests.unit.formats.test_ignore import ALWAYS, BODY, DRAFT, EVERYTHING, FULL, GATES, LAYER, VISION

BUILT_PLAIN = {*VISION, *DRAFT, *ALWAYS}


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*"], {"lm_head"}),
        (["lm_head"], {"lm_head"}),
        (["lm_hea"], set()),  # no substring counts, as it would in vLLM
        (["mlp"], {n for n in BODY if ".mlp." in n}),  # a dotted part is enough
        (["self_attn"], {n for n in BODY if ".self_attn." in n}),
        (["*in_proj_ba*"], {*GATES}),
        (["in_proj_ba"], {*GATES}),
        (list(GATES), {*GATES}),
        (["*in_proj_a*"], set()),
        ([f"{LAYER}.*"], {n for n in (*BODY, *GATES) if n.startswith(LAYER)}),
        (["re:^mtp.*"], set()),
        ([], set()),
    ],
)
def test_what_is_kept(patterns: list[str], kept: set[str]) -> None:
    assert kept_by_sglang(EVERYTHING, patterns) == kept | BUILT_PLAIN


def test_tower_and_draft_head_are_kept_but_not_by_an_empty_list() -> None:
    assert set(DRAFT) <= kept_by_sglang(DRAFT, [])
    assert named_for_sglang(DRAFT, []) == set()
    assert named_for_sglang(DRAFT, ["*mtp*"]) == set(DRAFT)


def test_a_part_of_a_fused_module_is_refused() -> None:
    with pytest.raises(IgnoreError, match=r"qkv_proj: the ignore list names some but not all of q_proj"):
        kept_by_sglang([f"{FULL}.self_attn.q_proj"], [f"{FULL}.self_attn.q_proj"])


@pytest.mark.parametrize("pattern", ["(", "[a", "+x"])
def test_an_entry_that_is_no_expression_is_named(pattern: str) -> None:
    with pytest.raises(IgnoreError, match="SGLang reads it as a regular expression"):
        kept_by_sglang(EVERYTHING, [pattern])
