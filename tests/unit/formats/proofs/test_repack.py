"""The repack proof finds what differs, names it alone, and is the same for every packer and depth."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from recipes.formats import nvfp4
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.proofs import repack as repacking
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.packer import NumpyPacker, Packer
from recipes.formats.proofs.repack import repack
from recipes.steps.quantize.kernels.cpu import CpuKernel
from tests.unit.steps.synthetic import Tensors, edit_tensor, pack_weight, random_bf16, write_checkpoint

SHAPES: Mapping[str, tuple[int, int]] = {"q": (96, 512), "k": (32, 512), "o": (64, 256)}
GROUPS = (("k", "q"), ("o",))
PACKERS = (NumpyPacker(), CpuKernel())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a master and what it packs to."""
    random = np.random.default_rng(0)
    plain: Tensors = {f"{n}.weight": ("BF16", s, random_bf16(random, s)) for n, s in SHAPES.items()}
    packed: Tensors = {}
    for group in GROUPS:
        bits = {name: nvfp4.bf16(plain[f"{name}.weight"][2], SHAPES[name]) for name in group}
        scale = nvfp4.global_scale(bits.items())
        for name in group:
            packed |= pack_weight(name, bits[name], scale)
    write_checkpoint(tmp_path / "master", plain, shards=2)
    write_checkpoint(tmp_path / "packed", packed)
    return tmp_path / "master", tmp_path / "packed"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every tensor many pieces and many tasks."""
    monkeypatch.setattr(repacking, "RUN", 16384)


def flaws(folders: tuple[Path, Path], packer: Packer = PACKERS[0], depth: Depth = Depth.FULL) -> list[str]:
    master, packed = map(open_checkpoint, folders)
    return list(repack(master, packed, GROUPS, packer, depth, lambda done, total: None))


@pytest.mark.parametrize("packer", PACKERS, ids=lambda packer: packer.name)
@pytest.mark.parametrize("depth", Depth)
def test_what_the_master_packs_to_is_believed(
    folders: tuple[Path, Path], packer: Packer, depth: Depth
) -> None:
    assert flaws(folders, packer, depth) == []


@pytest.mark.parametrize("packer", PACKERS, ids=lambda packer: packer.name)
@pytest.mark.parametrize("at", [0, 12287, -1])
@pytest.mark.parametrize("leaf", ["weight", "weight_scale"])
def test_one_changed_byte_is_named_wherever_it_lies(
    folders: tuple[Path, Path], packer: Packer, leaf: str, at: int
) -> None:
    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at % len(data)] ^= 1
        return bytes(changed)

    edit_tensor(folders[1], f"q.{leaf}", edit)
    assert flaws(folders, packer) == [f"q.{leaf}: bytes differ from the master's, packed again"]


@pytest.mark.parametrize("value", [0.5, 0.0, -1.0, float("nan"), float("inf"), 1e-42, 3e38])
def test_a_wrong_global_scale_is_named_alone(folders: tuple[Path, Path], value: float) -> None:
    edit_tensor(folders[1], "q.weight_scale_2", lambda _: struct.pack("<f", value))
    (flaw,) = flaws(folders)
    assert flaw.startswith("q.weight_scale_2: expected 3.52405368e-05, which the master packs to, got ")


def test_a_group_packed_under_another_scale_is_named_whole(folders: tuple[Path, Path]) -> None:
    master = open_checkpoint(folders[0])
    tensors = {n: (p.tensor.dtype, p.tensor.shape, master.read(n)) for n, p in master.tensors.items()}
    packed = open_checkpoint(folders[1])
    found: Tensors = {n: (p.tensor.dtype, p.tensor.shape, packed.read(n)) for n, p in packed.tensors.items()}
    for name in GROUPS[0]:
        bits = nvfp4.bf16(tensors[f"{name}.weight"][2], SHAPES[name])
        found |= pack_weight(name, bits, nvfp4.global_scale([(name, bits)]) * np.float32(3))
    write_checkpoint(folders[1], found)
    named = {flaw.split(":")[0] for flaw in flaws(folders)}
    assert named == {
        f"{n}.{leaf}" for n in GROUPS[0] for leaf in ("weight_scale_2", "weight_scale", "weight")
    }


def test_a_quick_look_finds_what_is_wrong_everywhere(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recipes.formats.proofs import depth

    monkeypatch.setattr(depth, "PIECE", 1024)
    monkeypatch.setattr(depth, "PIECES", 4)
    edit_tensor(folders[1], "q.weight", lambda data: data[::-1])
    edit_tensor(folders[1], "o.weight_scale_2", lambda _: struct.pack("<f", 1e-9))
    assert [flaw.split(":")[0] for flaw in flaws(folders, depth=Depth.QUICK)] == [
        "q.weight",
        "o.weight_scale_2",
    ]


def test_a_quick_look_reads_a_sample_that_never_changes() -> None:
    size = 100_000_000
    ranges = list(Depth.QUICK.ranges(size))
    assert ranges == list(Depth.QUICK.ranges(size)) and sum(end - begin for begin, end in ranges) == 1 << 19
    assert ranges[0][0] == 0 and size - 64 <= ranges[-1][1] <= size
    assert all(begin % 64 == 0 for begin, _ in ranges)
    assert list(Depth.QUICK.ranges(1000)) == list(Depth.FULL.ranges(1000)) == [(0, 1000)]


def _as_float(entries: Tensors) -> Tensors:
    _, shape, data = entries["q.weight"]
    return entries | {"q.weight": ("F32", shape, data * 2)}


def _not_finite(entries: Tensors) -> Tensors:
    dtype, shape, data = entries["q.weight"]
    return entries | {"q.weight": (dtype, shape, b"\x80\x7f" + data[2:])}


def _zeros(entries: Tensors) -> Tensors:
    dtype, shape, data = entries["q.weight"]
    return entries | {"q.weight": (dtype, shape, bytes(len(data)))}


def _other_shape(entries: Tensors) -> Tensors:
    dtype, (rows, columns), data = entries["q.weight"]
    return entries | {"q.weight": (dtype, (rows * 2, columns // 2), data)}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_as_float, "q.weight: F32 in the master"),
        (_not_finite, "q.weight: expected finite weights"),
        (_zeros, "q.weight: all weights are zero"),
        (_other_shape, "q.weight: not the shape"),
    ],
)
def test_a_master_that_cannot_be_packed_is_named(
    folders: tuple[Path, Path], edit: Callable[[Tensors], Tensors], words: str
) -> None:
    master = open_checkpoint(folders[0])
    tensors = {n: (p.tensor.dtype, p.tensor.shape, master.read(n)) for n, p in master.tensors.items()}
    write_checkpoint(folders[0], edit(tensors), shards=2)
    assert any(words in flaw for flaw in flaws(folders))


def test_a_file_that_shrinks_meanwhile_is_noticed(folders: tuple[Path, Path]) -> None:
    master, packed = map(open_checkpoint, folders)
    shard = next(iter(packed.headers))
    (packed.root / shard).write_bytes((packed.root / shard).read_bytes()[:5000])
    with pytest.raises(ValueError, match="end of file"):
        list(repack(master, packed, GROUPS, NumpyPacker(), Depth.FULL, lambda done, total: None))


def test_progress_ends_at_the_total(folders: tuple[Path, Path]) -> None:
    master, packed = map(open_checkpoint, folders)
    told: list[tuple[int, int]] = []
    list(repack(master, packed, GROUPS, NumpyPacker(), Depth.FULL, lambda *at: told.append(at)))
    assert told[-1][0] == told[-1][1] == 2 * sum(rows * columns for rows, columns in SHAPES.values())
