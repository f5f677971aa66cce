"""The streaming exporter: what is packed, what is left alone, what is refused, and what a kill costs."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks import synthetic as sized
from recipes.formats import calibration, nvfp4, progress, strict_json
from recipes.formats.calibration import Calibration, Range
from recipes.formats.checkpoint import INDEX_FILE, open_checkpoint
from recipes.formats.qwen3_5 import MTP_PREFIX, Layout, parse_layout
from recipes.formats.step import StepError, Workdir
from recipes.steps.quantize.main import main
from release import closure
from tests.unit.steps.scratch import PRECISION, REPOSITORY, run_step
from tests.unit.steps.synthetic import (
    CONFIG,
    LAYOUT,
    Tensors,
    pack_body,
    random_tensors,
    run_here,
    write_checkpoint,
)

A_LOG = "model.language_model.layers.0.linear_attn.A_log"
OUT_PROJ = "model.language_model.layers.0.linear_attn.out_proj.weight"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
V_PROJ = "model.language_model.layers.1.self_attn.v_proj.weight"
PARAMS: dict[str, object] = {
    **PRECISION,
    "exporter": "stream",
    "max_shard_size": "4KB",
}


def write_master(folder: Path, tensors: Tensors, shards: int = 1) -> Path:
    write_checkpoint(folder, tensors, shards)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def write_calibration(folder: Path, layout: Layout, *, in_proj_ab: bool = True) -> Path:
    folder.mkdir(parents=True)
    ranges = []
    for number, members in enumerate(layout.fused_groups(in_proj_ab=in_proj_ab)):
        amax = np.float32(1 + number / 7)
        scale = float(nvfp4.input_scale(amax))
        ranges.append(Range(members=members, input_amax=float(amax), input_scale=scale))
    made = Calibration(ranges=tuple(ranges), rows=1, tokens=1, max_seq_len=1, versions={})
    (folder / calibration.CALIBRATION_FILE).write_text(calibration.dump(made))
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    tensors = random_tensors(0)
    tensors[A_LOG] = ("F32", (2,), np.array([0.1, 0.2], np.float32).tobytes())
    return {
        "master": write_master(tmp_path / "master", tensors, shards=3),
        "calibration": write_calibration(tmp_path / "calibration", LAYOUT),
    }


def content(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree.iterdir()}


@pytest.mark.parametrize("in_proj_ab", [True, False])
def test_each_tensor_is_packed_or_exactly_as_it_came(
    inputs: dict[str, Path], tmp_path: Path, in_proj_ab: bool
) -> None:
    inputs["calibration"] = write_calibration(tmp_path / "of-gates", LAYOUT, in_proj_ab=in_proj_ab)
    mode = {"in_proj_ab": "nvfp4" if in_proj_ab else "bf16"}
    tree = run_here(main, tmp_path / "step", inputs, PARAMS | mode)
    found = open_checkpoint(tree)
    expected = pack_body(inputs["master"], in_proj_ab)
    expected = {name: value for name, value in expected.items() if not name.startswith(MTP_PREFIX)}
    assert found.tensors.keys() == expected.keys()
    scales = calibration.read(inputs["calibration"] / calibration.CALIBRATION_FILE)
    input_scale = {name: group.input_scale for group in scales.ranges for name in group.members}
    for name, (dtype, shape, data) in expected.items():
        tensor = found.locate(name).tensor
        assert (tensor.dtype, tensor.shape) == (dtype, shape), name
        if name.endswith(".input_scale"):
            scale = input_scale[name.removesuffix(".input_scale")]
            assert found.read(name) == np.float32(scale).tobytes()
        else:
            assert found.read(name) == data, name
    assert found.locate(A_LOG).tensor.dtype == "F32"
    assert found.index is not None and found.index.total_size == found.data_bytes


def test_the_sharding_of_the_master_is_in_no_byte(inputs: dict[str, Path], tmp_path: Path) -> None:
    master = open_checkpoint(inputs["master"])
    tensors = {n: (p.tensor.dtype, p.tensor.shape, master.read(n)) for n, p in master.tensors.items()}
    trees = []
    for shards in (1, 2, 7):
        given = inputs | {"master": write_master(tmp_path / f"{shards}" / "master", tensors, shards)}
        trees.append(content(run_here(main, tmp_path / f"{shards}" / "step", given, PARAMS)))
    assert trees[0] == trees[1] == trees[2]
    assert INDEX_FILE in trees[0] and len(trees[0]) > 5


def test_configs_say_what_is_packed_and_keep_the_masters_fields(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    tree = run_here(main, tmp_path / "step", inputs, PARAMS)
    config = strict_json.read_table(tree / "config.json")
    exported = strict_json.table(strict_json.read_table(tree / "hf_quant_config.json"), "quantization", "")
    quantization = config.pop("quantization_config")
    assert config == json.loads(json.dumps(CONFIG))
    assert isinstance(quantization, dict)
    assert quantization["ignore"] == exported["exclude_modules"] == sorted(set(quantization["ignore"]))
    assert "lm_head" in quantization["ignore"]
    assert (quantization["quant_algo"], quantization["quant_method"]) == ("NVFP4", "modelopt")


@pytest.mark.parametrize(
    ("name", "edit", "flaw"),
    [
        (OUT_PROJ, lambda data: bytes(len(data)), "all weights are zero"),
        (V_PROJ, lambda data: bytes(len(data)), "all weights are zero"),
        (V_PROJ, lambda data: b"\xc0\x7f" + data[2:], "NaN or infinity"),
        (V_PROJ, lambda data: data[:-2] + b"\x80\xff", "NaN or infinity"),
    ],
)
def test_weights_without_a_scale_are_refused_by_name(
    inputs: dict[str, Path], tmp_path: Path, name: str, edit: object, flaw: str
) -> None:
    tensors = random_tensors(0)
    dtype, shape, data = tensors[name]
    assert callable(edit)
    tensors[name] = (dtype, shape, edit(data))
    given = inputs | {"master": write_master(tmp_path / "bad", tensors)}
    with pytest.raises(StepError, match=f"{name}: .*{flaw}"):
        run_here(main, tmp_path / "step", given, PARAMS)


def test_in_features_without_whole_blocks_are_refused_by_name(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    tensors = random_tensors(0)
    tensors[V_PROJ] = ("BF16", (16, 24), bytes(2 * 16 * 24))
    given = inputs | {"master": write_master(tmp_path / "bad", tensors)}
    with pytest.raises(StepError, match=rf"{V_PROJ}: expected .* multiple of 16"):
        run_here(main, tmp_path / "step", given, PARAMS)


@pytest.mark.parametrize("key", ["input_scale", "members"])
def test_a_calibration_of_another_grouping_is_refused(
    inputs: dict[str, Path], tmp_path: Path, key: str
) -> None:
    path = inputs["calibration"] / calibration.CALIBRATION_FILE
    data = json.loads(path.read_text())
    group = next(group for group in data["groups"] if len(group["members"]) == 3)
    if key == "members":
        group["members"], lost = group["members"][1:], group["members"][0]
    else:
        group["input_scale"], lost = 0.5, group["members"][0]
    path.write_text(json.dumps(data))
    with pytest.raises(StepError, match=rf"{lost}: .*calibrate again"):
        run_here(main, tmp_path / "step", inputs, PARAMS)


def test_the_step_tells_how_many_bytes_it_has_read(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int, str]] = []
    monkeypatch.setattr(progress, "update", lambda at, done, total, unit: told.append((done, total, unit)))
    run_here(main, tmp_path / "step", inputs, PARAMS)
    master = open_checkpoint(inputs["master"])
    total = sum(p.tensor.nbytes for n, p in master.tensors.items() if not n.startswith(MTP_PREFIX))
    assert told[-1] == (total, total, "B")


def test_a_killed_step_goes_on_with_the_shard_it_was_at(inputs: dict[str, Path], tmp_path: Path) -> None:
    whole = run_step("quantize", tmp_path / "whole", inputs, PARAMS)
    assert whole.code == 0, whole.error
    names = sorted(name for name in whole.files if name.endswith(".safetensors"))
    root = tmp_path / "killed"
    shards = root / "work" / "state" / "shards" / BOOT
    step = _start(root, inputs, stop_at=shards / f"{names[3]}.partial")
    try:
        _wait_for(shards / names[2], step)
    finally:
        step.send_signal(signal.SIGKILL)
        step.wait()
    (shards / f"{names[3]}.partial").unlink()
    kept = {name: _identity(shards / name) for name in names[:3]}
    assert not (shards / names[3]).exists()
    again = _start(root, inputs)
    assert again.wait() == 0
    out = root / "work" / "out"
    assert {name: _identity(out / name) for name in names[:3]} == kept
    assert {name: (out / name).read_bytes() for name in whole.files} == content(whole.tree)


def test_a_shard_of_another_plan_is_written_anew(inputs: dict[str, Path], tmp_path: Path) -> None:
    expected = content(run_here(main, tmp_path / "whole", inputs, PARAMS))
    first, second = sorted(name for name in expected if name.endswith(".safetensors"))[:2]
    shards = {first: expected[first][:-1], second: expected[first]}
    tree = _run_with_state(inputs, tmp_path, shards, BOOT)
    assert tree == {name: data for name, data in expected.items() if name.endswith(".safetensors")}


def test_a_shard_from_before_a_reboot_is_not_trusted(inputs: dict[str, Path], tmp_path: Path) -> None:
    expected = content(run_here(main, tmp_path / "whole", inputs, PARAMS))
    first = min(name for name in expected if name.endswith(".safetensors"))
    torn = expected[first][:-4] + bytes(4)
    assert _run_with_state(inputs, tmp_path / "same", {first: torn}, BOOT)[first] == torn
    assert (
        _run_with_state(inputs, tmp_path / "other", {first: torn}, "an-earlier-boot")[first]
        == expected[first]
    )


@pytest.mark.timeout(120)
def test_memory_holds_less_than_two_fused_groups(tmp_path: Path) -> None:
    # gate + up of this layer is the largest group: 2 * 8192 * 1024 weights of 2 bytes.
    size = sized.Size(
        layers=1,
        hidden=1024,
        intermediate=8192,
        vocab=8192,
        linear_key_heads=8,
        linear_value_heads=8,
        heads=8,
        kv_heads=2,
    )
    sized.make(tmp_path / "master", size, shards=3, round_robin=True)
    layout = parse_layout(strict_json.read_table(tmp_path / "master" / "config.json"))
    given = {
        "master": tmp_path / "master",
        "calibration": write_calibration(tmp_path / "calibration", layout),
    }
    work = _workdir(tmp_path / "step", given, PARAMS | {"max_shard_size": "1GB"})
    tracemalloc.start()
    try:
        main(work)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    largest = 2 * 8192 * 1024 * 2
    assert largest < peak < 2 * largest


def _start(root: Path, inputs: Mapping[str, Path], stop_at: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start the step below ``root``; it hangs where it opens ``stop_at``, a pipe that nobody reads."""
    if not (root / "work").exists():
        _workdir(root / "work", inputs, PARAMS)
        (root / "work" / "params.json").write_text(json.dumps(dict(PARAMS)))
        closure.of_step(REPOSITORY, "quantize").write(root / "code")
    if stop_at is not None:
        stop_at.parent.mkdir(parents=True)
        os.mkfifo(stop_at)
    return subprocess.Popen(
        [sys.executable, "-I", root / "code", "--root", root / "work"], stdout=subprocess.DEVNULL
    )


def _workdir(root: Path, inputs: Mapping[str, Path], params: Mapping[str, object]) -> Workdir:
    for folder in ("in", "out", "state"):
        (root / folder).mkdir(parents=True)
    for name, given in inputs.items():
        (root / "in" / name).symlink_to(given.resolve(), target_is_directory=True)
    return Workdir(root, params)


def _run_with_state(
    inputs: Mapping[str, Path], folder: Path, shards: Mapping[str, bytes], boot: str
) -> dict[str, bytes]:
    work = _workdir(folder / "again", inputs, PARAMS)
    (work.state / "shards" / boot).mkdir(parents=True)
    for name, data in shards.items():
        (work.state / "shards" / boot / name).write_bytes(data)
    main(work)
    return {p.name: p.read_bytes() for p in (folder / "again" / "out").glob("*.safetensors")}


def _wait_for(path: Path, step: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert step.poll() is None and time.monotonic() < deadline, "the step did not come this far"
        time.sleep(0.01)


def _identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns
