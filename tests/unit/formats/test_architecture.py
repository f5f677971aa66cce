"""A config implies every tensor of its checkpoint: tiny's, and the 27B's by count and size."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import pytest

from benchmarks import synthetic
from recipes.formats.architecture import parse_architecture
from recipes.formats.checkpoint import open_checkpoint
from tests.unit.steps.synthetic import CONFIG

TINY = Path(__file__).parents[3] / "recipes" / "tiny"


def test_tiny_is_what_its_config_implies() -> None:
    base = open_checkpoint(TINY / "base")
    config = json.loads((TINY / "base" / "config.json").read_text())
    found = {name: place.tensor.shape for name, place in base.tensors.items()}
    assert parse_architecture(config).shapes() == found


def test_the_27b_has_1199_tensors_and_55_563_gigabytes() -> None:
    config = {**synthetic.config(synthetic.FLAGSHIP), "vision_config": dict(synthetic.TOWER_27B)}
    shapes = parse_architecture(config).shapes()
    assert len(shapes) == 1199
    assert sum(name.startswith("model.visual.") for name in shapes) == 333
    assert 2 * sum(map(prod, shapes.values())) == 55_562_855_904
    assert shapes["model.language_model.layers.0.linear_attn.conv1d.weight"] == (10240, 1, 4)
    assert shapes["model.language_model.layers.3.self_attn.q_proj.weight"] == (12288, 5120)
    assert shapes["model.visual.merger.linear_fc2.weight"] == (5120, 4608)


def test_a_text_model_has_no_tower_and_another_prefix() -> None:
    text = CONFIG["text_config"]
    assert isinstance(text, dict)
    found = parse_architecture({**text, "model_type": "qwen3_5_text"})
    assert found.vision is None
    assert "model.embed_tokens.weight" in found.shapes()
    assert not [name for name in found.shapes() if "visual" in name or "language_model" in name]


def test_a_tied_head_is_no_tensor() -> None:
    assert "lm_head.weight" not in parse_architecture({**CONFIG, "tie_word_embeddings": True}).shapes()


def test_every_merger_of_a_deep_stack_is_there() -> None:
    shapes = parse_architecture(_with_vision(deepstack_visual_indexes=[0, 1])).shapes()
    assert "model.visual.deepstack_merger_list.1.linear_fc2.weight" in shapes


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depth": 0}, "vision_config: depth"),
        ({"depth": 10**6}, "vision_config: depth"),
        ({"hidden_size": "16"}, "vision_config: hidden_size"),
        ({"deepstack_visual_indexes": 3}, "deepstack_visual_indexes"),
        ({"deepstack_visual_indexes": [0] * 10**5}, "deepstack_visual_indexes"),
    ],
)
def test_a_tower_that_cannot_be_is_named(fields: Mapping[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_architecture(_with_vision(**fields))


def _with_vision(**fields: object) -> dict[str, object]:
    vision = CONFIG["vision_config"]
    assert isinstance(vision, dict)
    return {**CONFIG, "vision_config": {**vision, **fields}}
