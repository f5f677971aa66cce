"""The plan of a body: what the order depends on, what a shard holds, what is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from recipes.formats.checkpoint import INDEX_FILE, SINGLE_FILE, open_checkpoint
from recipes.formats.qwen3_5 import MTP_PREFIX
from recipes.steps.quantize.plan import Body, Group, parse_size, plan_body
from tests.unit.steps.synthetic import LAYOUT, Tensors, random_tensors, write_checkpoint

GROUPS = LAYOUT.fused_groups(in_proj_ab=True)
SCALES = {group: np.float32(0.5) for group in GROUPS}
QKV = "model.language_model.layers.1.self_attn.{}_proj"


def plan(folder: Path, tensors: Tensors, limit: int = 1 << 30, shards: int = 1) -> Body:
    write_checkpoint(folder, tensors, shards)
    return plan_body(open_checkpoint(folder), SCALES, limit)


def test_the_sharding_of_the_master_does_not_show(tmp_path: Path) -> None:
    tensors = random_tensors(0)
    one, three = plan(tmp_path / "1", tensors, 4000), plan(tmp_path / "3", tensors, 4000, shards=3)
    assert [(s.name, s.start, s.at, s.size) for s in one.shards] == [
        (s.name, s.start, s.at, s.size) for s in three.shards
    ]
    assert one.weight_map == three.weight_map


def test_a_group_is_whole_in_one_shard_and_shards_keep_to_their_size(tmp_path: Path) -> None:
    body = plan(tmp_path, random_tensors(0), limit=4000)
    assert len(body.shards) > 3
    for group in GROUPS:
        homes = {body.weight_map[f"{module}.weight_scale"] for module in group}
        assert len(homes) == 1
    for shard in body.shards:
        assert shard.size - len(shard.start) <= 4000 or len(shard.units) == 1
    assert sum(shard.size - len(shard.start) for shard in body.shards) == body.total_size


def test_what_fits_into_one_shard_needs_no_index(tmp_path: Path) -> None:
    body = plan(tmp_path, random_tensors(0))
    assert [shard.name for shard in body.shards] == [SINGLE_FILE]
    assert INDEX_FILE not in body.weight_map.values()


def test_layers_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    tensors = random_tensors(0)
    for number in (2, 10):
        tensors[f"model.language_model.layers.{number}.extra"] = ("F32", (1,), bytes(4))
    names = [
        name
        for name in plan(tmp_path, tensors).shards[0].at
        if name.startswith("model.language_model.layers.")
    ]
    numbers = [int(name.split(".")[3]) for name in names]
    assert numbers == sorted(numbers) and numbers[-1] == 10


def test_the_draft_head_stays_out(tmp_path: Path) -> None:
    tensors = random_tensors(0)
    assert any(name.startswith(MTP_PREFIX) for name in tensors)
    assert not any(name.startswith(MTP_PREFIX) for name in plan(tmp_path, tensors).weight_map)


def test_every_packed_module_has_its_groups_scale(tmp_path: Path) -> None:
    groups = [unit for unit in plan(tmp_path, random_tensors(0)).units if isinstance(unit, Group)]
    assert {tuple(group.members) for group in groups} == set(GROUPS)
    assert all(group.input_scale == np.float32(0.5) for group in groups)


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        (("F32", (16, 32), bytes(4 * 512)), "expected BF16, got F32"),
        (("BF16", (16, 40), bytes(2 * 640)), "in a multiple of 16, got .16, 40."),
        (("BF16", (512,), bytes(2 * 512)), "expected .out, in."),
        (None, "no such tensor"),
    ],
)
def test_a_weight_that_cannot_be_packed_is_named(
    tmp_path: Path, value: tuple[str, tuple[int, ...], bytes] | None, flaw: str
) -> None:
    name = f"{QKV.format('k')}.weight"
    tensors = {n: v for n, v in random_tensors(0).items() if n != name}
    if value is not None:
        tensors[name] = value
    with pytest.raises(ValueError, match=rf"self_attn\.k_proj\.weight: .*{flaw}"):
        plan(tmp_path, tensors)


def test_a_master_that_has_scales_already_is_refused(tmp_path: Path) -> None:
    name = f"{QKV.format('q')}.weight_scale"
    with pytest.raises(ValueError, match=r"q_proj\.weight_scale"):
        plan(tmp_path, random_tensors(0) | {name: ("U8", (1,), b"x")}, limit=1000)


@pytest.mark.parametrize(
    ("text", "size"), [("1MB", 10**6), ("5GB", 5 * 10**9), ("512MiB", 512 << 20), ("40 kb", 40000)]
)
def test_sizes_read_as_they_are_written_elsewhere(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "GB", "0GB", "-1GB", "1.5GB", "5TB", "5 GBs"])
def test_another_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="max_shard_size"):
        parse_size(text)
