"""calibrate, layer by layer: resumed where it was killed, and told what it runs on."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from recipes.formats import progress
from recipes.formats.checkpoint import open_checkpoint
from release import closure
from tests.unit.steps.scratch import PRECISION, REPOSITORY, run_step
from tests.unit.steps.synthetic import edit_tensor, rewrite

pytestmark = pytest.mark.env

TINY = REPOSITORY / "recipes" / "tiny"
TEMPLATES = REPOSITORY / "recipes" / "templates"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
PARAMS: dict[str, object] = {
    **PRECISION,
    "samples": 3,
    "max_seq_len": 48,
    "rows_license": "Apache-2.0",
    "slow_linear_attention": False,
}
INPUTS = {"master": TINY / "master", "rows": TINY, "chat_template": TEMPLATES}
A_LOG = "model.language_model.layers.0.linear_attn.A_log"


def test_a_killed_calibration_goes_on_with_the_layer_it_was_at(quantize_python: Path, tmp_path: Path) -> None:
    # Enough rows for a layer to take a while.
    params = PARAMS | {"samples": 20, "max_seq_len": 256}
    whole = run_step("calibrate", tmp_path / "whole", INPUTS, params, quantize_python)
    assert whole.code == 0, whole.log
    root = tmp_path / "killed"
    layers = root / "work" / "state" / "layers" / BOOT
    step = _start(root, quantize_python, params)
    try:
        _wait_for(layers / "0002", step)
    finally:
        step.send_signal(signal.SIGKILL)
        step.communicate()
    at = max(int(path.name) for path in layers.iterdir() if path.suffix == "")
    again = _start(root, quantize_python, params)
    said, _ = again.communicate()
    assert again.returncode == 0
    told = [
        update.done
        for line in said.splitlines()
        if isinstance(update := progress.parse(line), progress.Update)
    ]
    assert told[0] == at >= 2
    for name in whole.files:
        assert (root / "work" / "out" / name).read_bytes() == (whole.tree / name).read_bytes()


def test_what_is_left_behind_is_a_layer_and_not_all(quantize_python: Path, tmp_path: Path) -> None:
    ran = run_step("calibrate", tmp_path, INPUTS, PARAMS, quantize_python)
    left = sorted(path.name for path in (tmp_path / "work" / "state" / "layers" / BOOT).iterdir())
    assert ran.code == 0 and left == ["0004"]


def test_the_licence_of_the_rows_is_recorded(quantize_python: Path, tmp_path: Path) -> None:
    ran = run_step("calibrate", tmp_path, INPUTS, PARAMS, quantize_python)
    facts = json.loads((ran.tree / "evidence.json").read_text())["facts"]
    assert facts["calibration_rows_license"] == "Apache-2.0" and facts["calibration_rows"] == 3
    assert facts["linear_attention_kernels"] == "plain torch" and facts["device"] == "cpu"


def test_a_master_with_fp32_parts_is_calibrated_alike(quantize_python: Path, tmp_path: Path) -> None:
    master = _master(tmp_path / "master")
    bits = np.frombuffer(open_checkpoint(master).read(A_LOG), np.uint16)
    wide = (bits.astype(np.uint32) << 16).tobytes()
    rewrite(master, lambda tensors: tensors | {A_LOG: ("F32", tensors[A_LOG][1], wide)})
    trees = {}
    for name, given in (("wide", master), ("plain", TINY / "master")):
        ran = run_step("calibrate", tmp_path / name, INPUTS | {"master": given}, PARAMS, quantize_python)
        assert ran.code == 0, ran.error + ran.log
        trees[name] = (ran.tree / "calibration.json").read_bytes()
    assert trees["wide"] == trees["plain"]


def test_a_weight_that_is_nan_is_noticed_where_it_is_read(quantize_python: Path, tmp_path: Path) -> None:
    master = _master(tmp_path / "master")
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    edit_tensor(master, name, lambda data: b"\xc0\x7f" + data[2:])
    ran = run_step("calibrate", tmp_path / "step", INPUTS | {"master": master}, PARAMS, quantize_python)
    assert ran.code != 0
    assert "layers.1.mlp.down_proj: input range is nan" in ran.error, ran.error


def test_a_tensor_that_is_missing_is_named(quantize_python: Path, tmp_path: Path) -> None:
    master = _master(tmp_path / "master")
    name = "model.language_model.layers.3.self_attn.o_proj.weight"
    rewrite(master, lambda tensors: {key: value for key, value in tensors.items() if key != name})
    ran = run_step("calibrate", tmp_path / "step", INPUTS | {"master": master}, PARAMS, quantize_python)
    assert ran.code == 3 and name in ran.error


def test_slow_linear_attention_on_a_gpu_is_an_error_unless_asked_for(quantize_python: Path) -> None:
    # No GPU is touched: the question is asked before a weight is read.
    code = """
import torch
from pathlib import Path
from recipes.formats.master import open_master
from recipes.formats.step import StepError
from recipes.layerwise.decoder import Decoder
from recipes.layerwise.kernels import linear_attention_kernels
decoder = Decoder(open_master(Path("recipes/tiny/master")), torch.device("cuda"))
print(linear_attention_kernels(decoder, allowed=True))
try:
    linear_attention_kernels(decoder, allowed=False)
except StepError as error:
    print(int(error.code), error)
"""
    done = subprocess.run(
        [quantize_python, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    allowed, refused = done.stdout.strip().splitlines()
    assert allowed == "plain torch"
    assert refused.startswith("10 ") and "chunk_gated_delta_rule" in refused


def _master(folder: Path) -> Path:
    shutil.copytree(TINY / "master", folder)
    return folder


def _start(root: Path, python: Path, params: dict[str, object]) -> "subprocess.Popen[str]":
    work = root / "work"
    if not work.exists():
        for name in ("in", "out", "state"):
            (work / name).mkdir(parents=True)
        for name, source in INPUTS.items():
            (work / "in" / name).symlink_to(source.resolve(), target_is_directory=True)
        (work / "params.json").write_text(json.dumps(params))
        closure.of_step(REPOSITORY, "calibrate").write(root / "code")
    return subprocess.Popen(
        [python, "-I", root / "code", "--root", work],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(root), "HF_HUB_OFFLINE": "1"},
    )


def _wait_for(path: Path, step: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert step.poll() is None and time.monotonic() < deadline, "the step did not come this far"
        time.sleep(0.002)
