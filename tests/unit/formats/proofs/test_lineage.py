"""Lineage says what training changed, class by class, and how much of the base there was."""

from pathlib import Path

from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.lineage import Lineage, trace
from recipes.formats.qwen3_5 import MTP_PREFIX, VISION_PREFIX
from tests.unit.steps.synthetic import Tensors, random_tensors, write_checkpoint

BASE = random_tensors(0)
TRAINED = random_tensors(1)
TOWER = {name: value for name, value in BASE.items() if name.startswith(VISION_PREFIX)}
HEAD = {name: value for name, value in BASE.items() if name.startswith(MTP_PREFIX)}
MASTER = {name: value for name, value in TRAINED.items() if not name.startswith(MTP_PREFIX)} | TOWER
PART = f"{VISION_PREFIX}blocks.0.attn.qkv.weight"


def lineage(tmp_path: Path, base: Tensors, master: Tensors) -> Lineage:
    write_checkpoint(tmp_path / "base", base)
    write_checkpoint(tmp_path / "master", master, shards=2)
    checkpoints = open_checkpoint(tmp_path / "base"), open_checkpoint(tmp_path / "master")
    return trace(*checkpoints, Comparer(Depth.FULL))


def test_a_whole_base(tmp_path: Path) -> None:
    found = lineage(tmp_path, BASE, MASTER)
    assert found.to_json()["compared"] == "every tensor of the base"
    assert found.vision_frozen
    assert found.classes["vision"].equal == len(TOWER)
    assert (found.classes["mtp"].only_base, found.classes["mtp"].equal) == (15, 0)
    assert found.classes["lm_head"].changed == 1
    counted = sum(sum(change.to_json().values()) for change in found.classes.values())
    assert counted == len({*BASE, *MASTER})


def test_a_master_that_kept_its_head(tmp_path: Path) -> None:
    found = lineage(tmp_path, BASE, MASTER | HEAD)
    assert found.classes["mtp"].equal == 15
    found = lineage(tmp_path, BASE, TRAINED)
    assert found.classes["mtp"].changed == 15


def test_of_a_part_of_the_base_nothing_is_said_of_the_rest(tmp_path: Path) -> None:
    found = lineage(tmp_path, HEAD | TOWER, MASTER)
    assert found.to_json()["compared"] == "the base's draft head and vision tower alone"
    assert set(found.classes) == {"mtp", "vision"} and found.vision_frozen


def test_a_tower_that_was_trained_lost_or_grew_is_not_frozen(tmp_path: Path) -> None:
    dtype, shape, data = MASTER[PART]
    assert not lineage(tmp_path, BASE, MASTER | {PART: (dtype, shape, data[::-1])}).vision_frozen
    assert not lineage(tmp_path, BASE, {n: t for n, t in MASTER.items() if n != PART}).vision_frozen
    assert not lineage(tmp_path, {n: t for n, t in BASE.items() if n != PART}, MASTER).vision_frozen
    assert not lineage(tmp_path, HEAD, MASTER).vision_frozen


def test_another_dtype_is_a_change(tmp_path: Path) -> None:
    name = "model.language_model.layers.0.linear_attn.A_log"
    _, shape, data = BASE[name]
    found = lineage(tmp_path, BASE | {name: ("F32", shape, data * 2)}, MASTER | {name: BASE[name]})
    assert found.classes["linear_attention"].equal == 0
