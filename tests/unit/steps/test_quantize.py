"""calibrate and quantize on the tiny master, against modelopt's own way in one go."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from recipes.formats import calibration
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.nvfp4 import DTYPES
from tests.unit.steps.scratch import KEEP_BF16, REPOSITORY, Ran, run_step
from tests.unit.steps.synthetic import edit_tensor

pytestmark = pytest.mark.env

TINY = REPOSITORY / "recipes" / "tiny"
TEMPLATES = REPOSITORY / "recipes" / "templates"
ROWS, LENGTH = 2, 48
RULES = {"keep_bf16": list(KEEP_BF16), "in_proj_ab": "nvfp4"}


@pytest.fixture(scope="module")
def calibrated(quantize_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    inputs = {"master": TINY / "master", "rows": TINY, "chat_template": TEMPLATES}
    params = RULES | {"samples": ROWS, "max_seq_len": LENGTH}
    return run_step("calibrate", tmp_path_factory.mktemp("calibrate"), inputs, params, quantize_python)


@pytest.fixture(scope="module")
def quantized(quantize_python: Path, calibrated: Ran, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return _quantize(calibrated, tmp_path_factory.mktemp("quantize"), quantize_python)


def test_every_fused_group_has_one_range(calibrated: Ran) -> None:
    assert calibrated.code == 0, calibrated.log
    found = calibration.read(calibrated.tree / "calibration.json")
    assert found.rows == ROWS and 0 < found.tokens <= ROWS * LENGTH
    members = [group.members for group in found.ranges]
    assert members == sorted(members)
    assert len(found.amax_of()) == sum(len(group) for group in members) > len(members)


def test_the_body_is_a_function_of_master_and_ranges(
    quantized: Ran, calibrated: Ran, quantize_python: Path, tmp_path: Path
) -> None:
    assert quantized.code == 0, quantized.log
    again = _quantize(calibrated, tmp_path / "another" / "place", quantize_python)
    assert _files(quantized.tree) == _files(again.tree)
    assert set(_files(quantized.tree)) == {
        "config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "model.safetensors",
    }


def test_bytes_are_those_of_modelopts_own_export(
    quantized: Ran, quantize_python: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    rows, template = TINY / "calibration.jsonl", TEMPLATES / "chat_template.jinja"
    tokens.write_text(_reference(quantize_python, "tokens", TINY / "master", rows, template, ROWS, LENGTH))
    _reference(quantize_python, "export", TINY / "master", tokens, tmp_path / "export")
    ours, theirs = open_checkpoint(quantized.tree), open_checkpoint(tmp_path / "export")
    assert ours.tensors.keys() == theirs.tensors.keys()
    assert [name for name in ours.tensors if ours.read(name) != theirs.read(name)] == []
    assert _packed(ours) == set(calibration_members(quantized))


def test_no_path_of_the_machine_ends_up_in_the_result(calibrated: Ran, quantized: Ran) -> None:
    for ran in (calibrated, quantized):
        for name, data in _files(ran.tree).items():
            assert str(ran.tree.parent).encode() not in data, name


def test_a_module_without_a_range_is_named(calibrated: Ran, quantize_python: Path, tmp_path: Path) -> None:
    data = json.loads((calibrated.tree / "calibration.json").read_text())
    lost = data["groups"].pop(0)["members"][0]
    (tmp_path / "calibration.json").write_text(json.dumps(data))
    inputs = {"master": TINY / "master", "calibration": tmp_path}
    ran = run_step("quantize", tmp_path / "step", inputs, RULES | {"max_shard_size": "1GB"}, quantize_python)
    assert ran.code == 3
    assert lost in ran.error


def test_an_input_that_is_always_zero_is_named(quantize_python: Path, tmp_path: Path) -> None:
    master = _tiny_master(tmp_path / "master")
    # Norms are zero-centred: a weight of -1 multiplies by zero.
    norm = "model.language_model.layers.1.post_attention_layernorm.weight"
    edit_tensor(master, norm, lambda data: b"\x80\xbf" * (len(data) // 2))
    inputs = {"master": master, "rows": TINY, "chat_template": TEMPLATES}
    ran = run_step(
        "calibrate", tmp_path / "step", inputs, RULES | {"samples": 1, "max_seq_len": 8}, quantize_python
    )
    assert ran.code != 0
    assert "layers.1.mlp" in ran.error and "input range is 0.0" in ran.error, ran.error


def test_a_weight_of_zeros_is_named(calibrated: Ran, quantize_python: Path, tmp_path: Path) -> None:
    master = _tiny_master(tmp_path / "master")
    name = "model.language_model.layers.0.linear_attn.out_proj.weight"
    edit_tensor(master, name, lambda data: bytes(len(data)))
    inputs = {"master": master, "calibration": calibrated.tree}
    ran = run_step("quantize", tmp_path / "step", inputs, RULES | {"max_shard_size": "1GB"}, quantize_python)
    assert ran.code == 5
    assert name in ran.error


def calibration_members(ran: Ran) -> dict[str, float]:
    """Return module → range of the calibration that ``ran`` was given."""
    return calibration.read(ran.tree.parent / "work" / "in" / "calibration" / "calibration.json").amax_of()


def _tiny_master(folder: Path) -> Path:
    shutil.copytree(TINY / "master", folder)
    return folder


def _quantize(calibrated: Ran, root: Path, python: Path) -> Ran:
    inputs = {"master": TINY / "master", "calibration": calibrated.tree}
    return run_step("quantize", root, inputs, RULES | {"max_shard_size": "10GB"}, python)


def _reference(python: Path, name: str, *arguments: object) -> str:
    done = subprocess.run(
        [python, "-m", f"tests.unit.steps.reference_{name}", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _packed(checkpoint: Checkpoint) -> set[str]:
    names = {name.rpartition(".")[0] for name in checkpoint.tensors if name.endswith(".input_scale")}
    return {name for name in names if all(f"{name}.{leaf}" in checkpoint.tensors for leaf in DTYPES)}


def _files(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree.iterdir()}
