"""The memory of serving the 27B on a GB10, by its published arithmetic."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.formats.architecture import Architecture, parse_architecture
from recipes.formats.params import Table
from recipes.formats.qwen3_5 import Kind
from recipes.formats.serving.budget import GIB, memory_budget, parse_floors, state_bytes
from tests.unit.formats.serving.profiles import PROJECT, named, small

POOL = int(121.7 * GIB)
FLOORS = parse_floors(Table("smoke.memory", {}))
TINY = PROJECT / "recipes" / "tiny" / "base" / "config.json"


@pytest.fixture
def big() -> Architecture:
    """Return an architecture with the recurrent state of the 27B: 48 layers of 48 heads of 128 x 128."""
    tiny = parse_architecture(json.loads(Path(TINY).read_text()))
    layers = ("linear_attention",) * 48 + ("full_attention",) * 16
    layout = replace(tiny.layout, layers=layers)
    return replace(tiny, layout=layout, keys=(16, 128), values=(48, 128))


def test_a_state_is_151_mb_in_float32_and_half_of_it_in_bfloat16(big: Architecture) -> None:
    one = state_bytes(small(speculative_tokens=0), big)
    assert one == pytest.approx(151e6, rel=0.03)
    assert state_bytes(small(speculative_tokens=2), big) == pytest.approx(3 * one, rel=0.02)
    half = state_bytes(small(speculative_tokens=0, recurrent_state_dtype="bfloat16"), big)
    assert half == pytest.approx(one / 2, rel=0.03)


@pytest.mark.parametrize(
    ("profile", "weights", "fits"),
    [
        ("gb10_seed", 20.6e9, True),
        ("gb10_cautious", 20.6e9, True),
        ("gb10_baseline", 55.6e9, True),
        ("gb10_seed", 55.6e9, False),
    ],
)
def test_the_profiles_fit_a_gb10_and_the_master_does_not_fit_the_seeds(
    big: Architecture, profile: str, weights: float, fits: bool
) -> None:
    budget = memory_budget(named(profile), big, {Kind.MLP: int(weights)}, FLOORS, POOL)
    assert budget.fits is fits


def test_a_vision_tower_that_is_not_loaded_is_not_counted(big: Architecture) -> None:
    sizes = {Kind.VISION: 900, Kind.LM_HEAD: 100}
    assert memory_budget(small(), big, sizes, FLOORS, POOL).weights == 100
    assert memory_budget(small(language_model_only=False), big, sizes, FLOORS, POOL).weights == 1000


def test_a_floor_written_wrongly_is_named() -> None:
    with pytest.raises(ValueError, match="unknown key: flor_bytes"):
        parse_floors(Table("smoke.memory", {"flor_bytes": 1}))
