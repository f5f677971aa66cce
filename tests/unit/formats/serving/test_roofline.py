"""The byte roofline of the 27B, by its published arithmetic, and of a step written out by hand."""

import json
from dataclasses import replace

import pytest

from recipes.formats.architecture import Architecture, parse_architecture
from recipes.formats.qwen3_5 import Kind
from recipes.formats.serving.roofline import step_bytes, tokens_per_second
from tests.unit.formats.serving.profiles import PROJECT, small

TINY = PROJECT / "recipes" / "tiny" / "base" / "config.json"

# Bytes of the first release line's NVFP4 tree by class, to three digits.
FLAGSHIP = {
    Kind.EMBEDDING: 2_543_000_000,
    Kind.LM_HEAD: 2_543_000_000,
    Kind.MTP: 850_000_000,
    Kind.VISION: 922_000_000,
    Kind.MLP: 10_300_000_000,
    Kind.LINEAR_ATTENTION: 2_600_000_000,
    Kind.FULL_ATTENTION: 760_000_000,
}


@pytest.fixture
def tiny() -> Architecture:
    return parse_architecture(json.loads(TINY.read_text()))


def test_the_27b_reads_26_gb_a_step_with_three_draft_tokens(tiny: Architecture) -> None:
    step = step_bytes(small(speculative_tokens=3), tiny, FLAGSHIP, context=0)
    assert step.total == pytest.approx(26.4e9, rel=0.01)
    reduced = FLAGSHIP | {Kind.LM_HEAD: FLAGSHIP[Kind.LM_HEAD] * 65_536 // 248_320}
    drafts_reduced = step.total - 3 * (FLAGSHIP[Kind.LM_HEAD] - reduced[Kind.LM_HEAD])
    assert drafts_reduced == pytest.approx(20.8e9, rel=0.01)


def test_a_step_reads_each_weight_once_a_pass_and_no_embedding(tiny: Architecture) -> None:
    kinds = {
        Kind.MLP: 100,
        Kind.NORM: 3,
        Kind.LM_HEAD: 10,
        Kind.MTP: 7,
        Kind.EMBEDDING: 999,
        Kind.VISION: 999,
    }
    plain = step_bytes(small(speculative_tokens=0), tiny, kinds, context=0)
    assert (plain.body, plain.head, plain.draft_head) == (103, 10, 0)
    drafting = step_bytes(small(speculative_tokens=2), tiny, kinds, context=0)
    assert (drafting.body, drafting.head, drafting.draft_head) == (103, 30, 14)


def test_a_tied_output_head_is_the_embedding(tiny: Architecture) -> None:
    assert step_bytes(small(speculative_tokens=1), tiny, {Kind.EMBEDDING: 50}, context=0).head == 100


def test_cache_grows_with_the_context_and_halves_in_fp8(tiny: Architecture) -> None:
    layout = replace(tiny.layout, layers=("full_attention",) * 2, kv_heads=2, head_dim=8)
    plain = replace(tiny, layout=layout)
    serve = small(speculative_tokens=1)
    # key and value, 2 heads of 8 values of 2 bytes, 10 tokens, 2 layers and the draft head's
    assert step_bytes(serve, plain, {}, context=10).cache == 2 * 2 * 8 * 2 * 10 * 3
    halved = small(speculative_tokens=1, kv_cache_dtype="fp8")
    assert step_bytes(halved, plain, {}, context=10).cache == 2 * 2 * 8 * 10 * 3
    assert step_bytes(serve, plain, {}, context=10).state == 0


def test_the_seeds_single_stream_is_within_its_roofline() -> None:
    # 15.2 tokens/s at an acceptance length of 2.6, on 273 GB/s and 23.9 GB a step
    assert 15.2 / tokens_per_second(23_900_000_000, 273e9, 2.6) == pytest.approx(0.51, abs=0.01)
