"""The grafted tree is the body as it was, and the base's draft head as it was."""

from pathlib import Path

import pytest

from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.qwen3_5 import MTP_PREFIX
from recipes.formats.step import StepError, Taken
from recipes.steps.graft.main import main as graft
from tests.unit.steps.scratch import run_step
from tests.unit.steps.synthetic import LAYOUT, Tensors, build_sources, rewrite, run_here


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    sources = build_sources(tmp_path)
    return {"body": sources["master"], "head": sources["base"]}


def test_body_is_taken_and_the_head_added_byte_for_byte(inputs: dict[str, Path], tmp_path: Path) -> None:
    ran = run_step("graft", tmp_path / "step", inputs, {})
    assert ran.code == 0, ran.log
    assert ran.files["model-00001-of-00003.safetensors"] == Taken("body", "model-00001-of-00002.safetensors")
    assert ran.files["config.json"] == Taken("body", "config.json")
    new = sorted(path for path, taken in ran.files.items() if taken is None)
    assert new == ["model-00003-of-00003.safetensors", "model.safetensors.index.json"]
    tree, body, head = (open_checkpoint(folder) for folder in (ran.tree, inputs["body"], inputs["head"]))
    assert {n for n in tree.tensors if n.startswith(MTP_PREFIX)} == set(LAYOUT.mtp_names())
    for name in tree.tensors:
        source = head if name.startswith(MTP_PREFIX) else body
        assert tree.read(name) == source.read(name), name
    assert tree.index is not None and tree.index.total_size == tree.data_bytes


def test_two_runs_give_equal_bytes(inputs: dict[str, Path], tmp_path: Path) -> None:
    trees = [run_here(graft, tmp_path / name, inputs, {}) for name in ("one", "another/place")]
    assert _files(trees[0]) == _files(trees[1])


def test_a_head_without_a_draft_head_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"head: no mtp\.\* tensor"):
        run_here(graft, tmp_path / "step", inputs | {"head": inputs["body"]}, {})


def test_a_missing_tensor_of_the_head_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    rewrite(inputs["head"], lambda t: {n: v for n, v in t.items() if n != "mtp.norm.weight"})
    with pytest.raises(StepError, match=r"mtp\.norm\.weight: no such tensor; expected 15 .*, got 14"):
        run_here(graft, tmp_path / "step", inputs, {})


def test_a_tensor_too_many_in_the_head_is_named(inputs: dict[str, Path], tmp_path: Path) -> None:
    rewrite(inputs["head"], lambda t: t | {"mtp.layers.1.norm.weight": t["mtp.norm.weight"]})
    with pytest.raises(StepError, match=r"mtp\.layers\.1\.norm\.weight"):
        run_here(graft, tmp_path / "step", inputs, {})


@pytest.mark.parametrize("shape", [(32,), (16,)])
def test_a_head_of_another_dtype_or_shape_is_named(
    inputs: dict[str, Path], tmp_path: Path, shape: tuple[int, ...]
) -> None:
    def change(tensors: Tensors) -> Tensors:
        dtype = "F32" if shape == (32,) else "BF16"
        return tensors | {"mtp.norm.weight": (dtype, shape, bytes(shape[0] * (4 if dtype == "F32" else 2)))}

    rewrite(inputs["head"], change)
    with pytest.raises(StepError, match=r"mtp\.norm\.weight: expected BF16 \[32\]"):
        run_here(graft, tmp_path / "step", inputs, {})


def test_a_body_that_holds_the_head_already_is_taken_as_it_is(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    first = run_step("graft", tmp_path / "first", inputs, {})
    again = run_step("graft", tmp_path / "again", inputs | {"body": first.tree}, {})
    assert again.code == 0, again.log
    assert all(taken == Taken("body", path) for path, taken in again.files.items())
    assert _files(again.tree) == _files(first.tree)


def test_a_body_with_another_head_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    tree = run_step("graft", tmp_path / "first", inputs, {}).tree
    for file in tree.iterdir():  # a copy: the tree shares its files with the sources
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
    rewrite(tree, lambda t: t | {"mtp.norm.weight": (*t["mtp.norm.weight"][:2], bytes(64))})
    with pytest.raises(StepError, match=r"mtp\.norm\.weight: .* it is not the head's"):
        run_here(graft, tmp_path / "step", inputs | {"body": tree}, {})


def test_a_truncated_body_fails_in_words(inputs: dict[str, Path], tmp_path: Path) -> None:
    shard = sorted(inputs["body"].glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    ran = run_step("graft", tmp_path / "step", inputs, {})
    assert ran.code == 3
    assert ran.error.startswith(f"body: {shard.name}: data: expected")


def _files(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree.iterdir()}
