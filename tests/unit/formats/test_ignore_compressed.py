"""compressed-tensors' ignore lists as vLLM reads them; test_against_engines asks vLLM itself."""

import pytest

from recipes.formats.ignore import IgnoreError
from recipes.formats.ignore_compressed import (
    kept_by_compressed_tensors,
    named_for_compressed_tensors,
    rename_for_compressed_tensors,
)
from tests.unit.formats.test_ignore import BODY, DRAFT, EVERYTHING, FULL, GATES, LAYER, VISION

NO_LINEARS = {f"{LAYER}.linear_attn.conv1d", "model.visual.patch_embed.proj", "model.language_model.norm"}
# Its target is Linear, and an output head is none there.
ALWAYS = {*NO_LINEARS, "lm_head"}


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["re:.*visual.*", "re:.*mtp.*"], {*VISION, *DRAFT, "mtp.fc"}),
        (["*visual*", "*mtp*"], set()),  # no shell patterns in this dialect
        (["re:visual.*"], {*VISION}),
        (["re:model.visual.*"], set()),  # matched against vLLM's own name
        (["model.visual.merger.linear_fc1"], {"model.visual.merger.linear_fc1"}),  # a name is renamed
        (["re:mtp"], {*DRAFT, "mtp.fc"}),  # from the beginning, not to the end
        (["re:.*in_proj_[ab]$"], {*GATES}),
        (["re:.*in_proj_ba"], {*GATES}),
        (list(GATES), {*GATES}),
        ([f"{FULL}.self_attn.o_proj"], {f"{FULL}.self_attn.o_proj"}),
        ([], set()),
    ],
)
def test_what_is_kept(patterns: list[str], kept: set[str]) -> None:
    assert kept_by_compressed_tensors(EVERYTHING, patterns) == kept | ALWAYS


def test_the_list_itself_covers_what_it_names() -> None:
    assert named_for_compressed_tensors(["lm_head"], []) == set()
    assert named_for_compressed_tensors(["lm_head"], ["re:.*lm_head"]) == {"lm_head"}
    # vLLM calls it language_model.lm_head, and renames no entry without a dot.
    assert named_for_compressed_tensors(["lm_head"], ["lm_head"]) == set()
    assert named_for_compressed_tensors(BODY, ["re:.*mlp.*"]) == {n for n in BODY if ".mlp." in n}


def test_some_parts_of_a_fused_module_are_refused() -> None:
    with pytest.raises(IgnoreError, match="in_proj_ba"):
        kept_by_compressed_tensors(GATES, ["re:.*in_proj_a$"])


def test_an_entry_that_is_no_expression_is_named() -> None:
    with pytest.raises(IgnoreError, match="expected a regular expression"):
        kept_by_compressed_tensors(BODY, ["re:("])


def test_names_are_renamed_and_expressions_are_not() -> None:
    given = ["lm_head", "model.visual.x", "model.language_model.layers.0.mlp.up_proj", "re:model.visual.x"]
    assert rename_for_compressed_tensors(given) == [
        "lm_head",
        "visual.x",
        "language_model.model.layers.0.mlp.up_proj",
        "re:model.visual.x",
    ]
