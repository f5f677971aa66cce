"""calibrate and quantize on the tiny master, both exporters, against modelopt's own way in one go."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from recipes.formats import calibration
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.nvfp4 import DTYPES
from tests.unit.steps.scratch import PRECISION, REPOSITORY, Ran, run_step
from tests.unit.steps.synthetic import edit_tensor

pytestmark = pytest.mark.env

TINY = REPOSITORY / "recipes" / "tiny"
TEMPLATES = REPOSITORY / "recipes" / "templates"
ROWS, LENGTH = 2, 48
CALIBRATE = {**PRECISION, "rows_license": "Apache-2.0", "slow_linear_attention": False}
EXPORTERS = ("stream", "modelopt")
BY_EXPORTER = pytest.mark.parametrize("exporter", EXPORTERS)


@pytest.fixture(scope="module")
def calibrated(quantize_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    inputs = {"master": TINY / "master", "rows": TINY, "chat_template": TEMPLATES}
    params = CALIBRATE | {"samples": ROWS, "max_seq_len": LENGTH}
    return run_step("calibrate", tmp_path_factory.mktemp("calibrate"), inputs, params, quantize_python)


@pytest.fixture(scope="module")
def bodies(
    quantize_python: Path, calibrated: Ran, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Ran]:
    folder = tmp_path_factory.mktemp("quantize")
    return {name: _quantize(calibrated, folder / name, quantize_python, name) for name in EXPORTERS}


@pytest.fixture(scope="module")
def reference_export(quantize_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    tokens = folder / "tokens.json"
    rows, template = TINY / "calibration.jsonl", TEMPLATES / "chat_template.jinja"
    tokens.write_text(_reference(quantize_python, "tokens", TINY / "master", rows, template, ROWS, LENGTH))
    _reference(quantize_python, "export", TINY / "master", tokens, folder / "export")
    return folder / "export"


def test_every_fused_group_has_one_range(calibrated: Ran) -> None:
    assert calibrated.code == 0, calibrated.log
    found = calibration.read(calibrated.tree / "calibration.json")
    assert found.rows == ROWS and 0 < found.tokens <= ROWS * LENGTH
    members = [group.members for group in found.ranges]
    assert members == sorted(members)
    assert len(found.amax_of()) == sum(len(group) for group in members) > len(members)


@BY_EXPORTER
def test_the_body_is_a_function_of_master_and_ranges(
    bodies: dict[str, Ran], calibrated: Ran, quantize_python: Path, tmp_path: Path, exporter: str
) -> None:
    assert bodies[exporter].code == 0, bodies[exporter].log
    again = _quantize(calibrated, tmp_path / "another" / "place", quantize_python, exporter)
    assert _files(bodies[exporter].tree) == _files(again.tree)
    assert set(_files(again.tree)) == {"config.json", "hf_quant_config.json", "model.safetensors"}


def test_both_exporters_write_the_same_tensors_and_configs(bodies: dict[str, Ran]) -> None:
    ours, theirs = (open_checkpoint(bodies[exporter].tree) for exporter in EXPORTERS)
    assert _tensors(ours) == _tensors(theirs)
    for name in ("config.json", "hf_quant_config.json"):
        assert _json(bodies["stream"], name) == _json(bodies["modelopt"], name)


@BY_EXPORTER
def test_bytes_are_those_of_modelopts_own_export(
    bodies: dict[str, Ran], reference_export: Path, exporter: str
) -> None:
    ours, theirs = open_checkpoint(bodies[exporter].tree), open_checkpoint(reference_export)
    assert _tensors(ours) == _tensors(theirs)
    assert _packed(ours) == set(calibration_members(bodies[exporter]))


def test_no_path_of_the_machine_ends_up_in_the_result(calibrated: Ran, bodies: dict[str, Ran]) -> None:
    for ran in (calibrated, *bodies.values()):
        for name, data in _files(ran.tree).items():
            assert str(ran.tree.parent).encode() not in data, name


@BY_EXPORTER
def test_a_module_without_a_range_is_named(
    calibrated: Ran, quantize_python: Path, tmp_path: Path, exporter: str
) -> None:
    data = json.loads((calibrated.tree / "calibration.json").read_text())
    lost = data["groups"].pop(0)["members"][0]
    (tmp_path / "calibration.json").write_text(json.dumps(data))
    inputs = {"master": TINY / "master", "calibration": tmp_path}
    ran = run_step("quantize", tmp_path / "step", inputs, _params(exporter), quantize_python)
    assert ran.code == 3
    assert lost in ran.error


def test_an_input_that_is_always_zero_is_named(quantize_python: Path, tmp_path: Path) -> None:
    master = _tiny_master(tmp_path / "master")
    # Norms are zero-centred: a weight of -1 multiplies by zero.
    norm = "model.language_model.layers.1.post_attention_layernorm.weight"
    edit_tensor(master, norm, lambda data: b"\x80\xbf" * (len(data) // 2))
    inputs = {"master": master, "rows": TINY, "chat_template": TEMPLATES}
    ran = run_step(
        "calibrate", tmp_path / "step", inputs, CALIBRATE | {"samples": 1, "max_seq_len": 8}, quantize_python
    )
    assert ran.code != 0
    assert "layers.1.mlp" in ran.error and "input range is 0.0" in ran.error, ran.error


@BY_EXPORTER
def test_a_weight_of_zeros_is_named(
    calibrated: Ran, quantize_python: Path, tmp_path: Path, exporter: str
) -> None:
    master = _tiny_master(tmp_path / "master")
    name = "model.language_model.layers.0.linear_attn.out_proj.weight"
    edit_tensor(master, name, lambda data: bytes(len(data)))
    inputs = {"master": master, "calibration": calibrated.tree}
    ran = run_step("quantize", tmp_path / "step", inputs, _params(exporter), quantize_python)
    assert ran.code == 5
    assert name in ran.error


def calibration_members(ran: Ran) -> dict[str, float]:
    """Return module → range of the calibration that ``ran`` was given."""
    return calibration.read(ran.tree.parent / "work" / "in" / "calibration" / "calibration.json").amax_of()


def _tiny_master(folder: Path) -> Path:
    shutil.copytree(TINY / "master", folder)
    return folder


def _quantize(calibrated: Ran, root: Path, python: Path, exporter: str) -> Ran:
    inputs = {"master": TINY / "master", "calibration": calibrated.tree}
    return run_step("quantize", root, inputs, _params(exporter), python)


def _params(exporter: str) -> dict[str, object]:
    return {**PRECISION, "exporter": exporter, "max_shard_size": "1GB"}


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


def _tensors(checkpoint: Checkpoint) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (place.tensor.dtype, place.tensor.shape, checkpoint.read(name))
        for name, place in checkpoint.tensors.items()
    }


def _json(ran: Ran, name: str) -> object:
    return json.loads((ran.tree / name).read_text())


def _files(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree.iterdir()}
