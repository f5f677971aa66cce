"""The compiler finds the shortest list under which an engine builds what the bytes are."""

import re
from itertools import combinations

import pytest

from recipes.formats.ignore import IgnoreError
from recipes.formats.ignore_compiler import (
    COMPRESSED_TENSORS,
    ENGINES,
    SGLANG,
    VLLM,
    Engine,
    compile_ignore,
)
from recipes.formats.qwen3_5 import is_linear
from tests.unit.formats.packings import PACKINGS, Packing, packing

engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
packings = pytest.mark.parametrize("case", PACKINGS, ids=lambda case: case.name)

SEED = ("*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*")


@pytest.mark.parametrize("engine", [VLLM, SGLANG], ids=lambda engine: engine.title)
def test_the_seeds_recipe_gives_the_seeds_four_patterns(engine: Engine) -> None:
    whole = packing("the whole body")
    assert compile_ignore(whole.kept, whole.packed, engine) == SEED


def test_the_same_list_in_expressions() -> None:
    whole = packing("the whole body")
    wanted = ("re:.*visual.*", r"re:.*linear_attn\.conv1d.*", "re:.*lm_head.*", "re:.*mtp.*")
    assert compile_ignore(whole.kept, whole.packed, COMPRESSED_TENSORS) == wanted


@pytest.mark.parametrize(
    ("engine", "gates"),
    [(VLLM, "*linear_attn.in_proj_ba*"), (SGLANG, "*linear_attn.in_proj_ba*")],
    ids=lambda value: getattr(value, "title", value),
)
def test_gates_are_named_as_the_engine_fuses_them(engine: Engine, gates: str) -> None:
    case = packing("gates kept", gates=False)
    assert set(compile_ignore(case.kept, case.packed, engine)) == {*SEED, gates}


@engines
@packings
def test_every_module_is_read_as_its_bytes_are(engine: Engine, case: Packing) -> None:
    patterns = compile_ignore(case.kept, case.packed, engine)
    linears = set(filter(is_linear, case.kept))
    # compressed-tensors packs an output head only where a target names it, whatever the list says.
    told = case.packed - ({"lm_head"} if engine is COMPRESSED_TENSORS else set())
    assert not list(engine.flaws(linears, told, patterns))
    assert case.kept <= engine.named(case.kept, patterns)
    assert not engine.named(case.packed, patterns)


@engines
@packings
def test_no_entry_can_be_left_out(engine: Engine, case: Packing) -> None:
    patterns = compile_ignore(case.kept, case.packed, engine)
    for fewer in combinations(patterns, len(patterns) - 1):
        try:
            named = engine.named(case.kept, fewer)
        except IgnoreError:
            continue  # the shorter list is refused outright
        if engine is COMPRESSED_TENSORS:
            # Its own package matches names as they are in the checkpoint; the list is for both readers.
            named &= {name for name in case.kept for entry in fewer if re.match(entry[3:], name)}
        assert not case.kept <= named, fewer


@engines
def test_it_does_not_depend_on_the_order_of_names(engine: Engine) -> None:
    case = packing("gates kept", gates=False)
    forward = compile_ignore(sorted(case.kept), sorted(case.packed), engine)
    kept, packed = (sorted(modules, reverse=True) for modules in (case.kept, case.packed))
    assert forward == compile_ignore(kept, packed, engine)


@pytest.mark.parametrize("engine", [VLLM, SGLANG], ids=lambda engine: engine.title)
def test_a_torn_fused_module_is_named(engine: Engine) -> None:
    case = packing("one part of a fused module kept", "layers.3.self_attn.q_proj")
    with pytest.raises(IgnoreError, match=r"layers\.3\.self_attn\.q_proj: kept BF16, but .* fuses it"):
        compile_ignore(case.kept, case.packed, engine)


def test_layer_1_is_not_layer_10() -> None:
    kept = ["model.language_model.layers.1.mlp.down_proj"]
    packed = ["model.language_model.layers.10.mlp.down_proj", "model.language_model.layers.11.mlp.down_proj"]
    for engine in ENGINES.values():
        patterns = compile_ignore(kept, packed, engine)
        assert engine.named([*kept, *packed], patterns) == set(kept), patterns


def test_nothing_kept_needs_no_list() -> None:
    assert compile_ignore([], ["model.language_model.layers.0.mlp.down_proj"], VLLM) == ()


def test_flaws_go_both_ways() -> None:
    body = "model.language_model.layers.0.mlp.down_proj"
    said = list(VLLM.flaws(["lm_head"], [body], ["*down_proj*"]))
    assert said == [
        "lm_head: BF16, but vLLM would build it NVFP4",
        f"{body}: packed, but vLLM would build it BF16",
    ]
