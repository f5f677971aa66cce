"""Tensors are equal when dtype, shape and every byte are; a sample sees what is wrong everywhere."""

import os
from pathlib import Path

import pytest

from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import PIECE, PIECES, Depth
from tests.unit.steps.synthetic import Tensors, edit_tensor, write_checkpoint

LARGE = PIECE * PIECES * 4
TENSORS: Tensors = {
    "large": ("U8", (LARGE,), bytes(LARGE)),
    "small": ("BF16", (2, 2), b"abcdefgh"),
    "empty": ("BF16", (0,), b""),
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("ours", "theirs"):
        write_checkpoint(tmp_path / name, TENSORS, shards=2)
    return tmp_path / "ours", tmp_path / "theirs"


def differences(folders: tuple[Path, Path], depth: Depth = Depth.FULL) -> list[str]:
    ours, theirs = map(open_checkpoint, folders)
    names = sorted({*ours.tensors, *theirs.tensors})
    return list(Comparer(depth).differences(names, ours, theirs))


@pytest.mark.parametrize("depth", Depth)
def test_equal_checkpoints_have_no_difference(folders: tuple[Path, Path], depth: Depth) -> None:
    assert differences(folders, depth) == []


@pytest.mark.parametrize("at", [0, 8 << 20, LARGE - 1])
def test_one_byte_is_found_wherever_it_lies(folders: tuple[Path, Path], at: int) -> None:
    at = min(at, LARGE - 1)
    edit_tensor(folders[0], "large", lambda data: data[:at] + b"x" + data[at + 1 :])
    assert differences(folders) == ["large: bytes differ"]


def test_a_sample_finds_what_is_wrong_everywhere_and_may_miss_a_byte(folders: tuple[Path, Path]) -> None:
    edit_tensor(folders[0], "large", lambda data: data[: PIECE + 1] + b"x" + data[PIECE + 2 :])
    assert differences(folders, Depth.QUICK) == []
    edit_tensor(folders[0], "large", lambda data: b"x" * len(data))
    assert differences(folders, Depth.QUICK) == ["large: bytes differ"]


def test_dtype_shape_and_absence_are_told(folders: tuple[Path, Path]) -> None:
    changed = TENSORS | {"small": ("F16", (2, 2), b"abcdefgh"), "more": ("U8", (1,), b"x")}
    del changed["empty"]
    write_checkpoint(folders[0], changed, shards=2)
    assert differences(folders) == [
        "empty: missing here",
        "more: not in the checkpoint it is compared with",
        "small: F16 [2, 2] here, BF16 [2, 2] there",
    ]


def test_a_hard_link_is_equal_without_being_read(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in folders[0].glob("*.safetensors"):
        (folders[1] / path.name).unlink()
        os.link(path, folders[1] / path.name)
    read = []
    monkeypatch.setattr(Checkpoint, "part", lambda *given: read.append(given))
    assert differences(folders) == [] and read == []
