"""fidelity on the tiny line: against both whole models at once, and builds that were damaged."""

import json
import os
import shutil
import struct
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recipes.formats import evidence, nvfp4
from recipes.formats.evidence import Evidence
from release import fidelity
from release.gates.judging import Found, judge_all
from release.gates.wanted import parse_gates
from release.verdicts import Outcome, Verdict
from tests.unit.steps.scratch import PRECISION, REPOSITORY, Ran, run_step
from tests.unit.steps.synthetic import Tensors, edit_tensor, rewrite

pytestmark = pytest.mark.env

TINY = REPOSITORY / "recipes" / "tiny"
CALIBRATION = REPOSITORY / "tests" / "integration" / "small"
PARAMS: dict[str, object] = {
    "max_seq_len": 256,
    "rows_license": "Apache-2.0",
    "slow_linear_attention": False,
}
LAYER = "model.language_model.layers.3"
FC1 = "model.visual.blocks.0.mlp.linear_fc1"
# Beside the packed weights: how the reference and the step round is the same to the last bit.
ROUNDING = 1e-7


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trees")
    inputs = {"master": TINY / "master", "calibration": CALIBRATION}
    params = {**PRECISION, "exporter": "stream", "max_shard_size": "1MB"}
    release = run_step("quantize", folder / "quantize", inputs, params).tree
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / "master" / name, release / name)
    template = REPOSITORY / "recipes" / "templates" / "chat_template.jinja"
    shutil.copyfile(template, release / template.name)
    return {"master": TINY / "master", "nvfp4": release}


@pytest.fixture(scope="module")
def clean(trees: dict[str, Path], quantize_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    ran = _run(tmp_path_factory.mktemp("clean"), trees, TINY, quantize_python)
    assert ran.code == 0, ran.error + ran.log
    return ran


def test_all_figures_are_measured_and_a_clean_build_passes_the_gates(clean: Ran) -> None:
    found = _evidence(clean)
    names = {figure.name for figure in found.measurements}
    plain = ("kl_mean", "kl_median", "kl_p99", "top1_agreement", "perplexity_master", "perplexity_nvfp4")
    assert {*plain, "vision_relative_error"} <= names
    assert {f"{name}.code" for name in plain} <= names and {f"{name}.german" for name in plain} <= names
    assert found.facts["computed_as"] == "W4A4" and found.facts["device"] == "cpu"
    verdicts = _judged(clean)
    assert verdicts and all(verdict.outcome is Outcome.PASS for verdict in verdicts), verdicts


def test_the_worst_positions_are_kept_with_their_text(clean: Ran) -> None:
    lines = [json.loads(line) for line in (clean.tree / "worst.jsonl").read_text().splitlines()]
    assert len(lines) == 20 and [line["kl"] for line in lines] == sorted(
        (line["kl"] for line in lines), reverse=True
    )
    assert all(line["before"] and line["token"] for line in lines)


def test_the_divergence_is_that_of_both_whole_models_over_the_whole_vocabulary(
    clean: Ran, trees: dict[str, Path], quantize_python: Path, tmp_path: Path
) -> None:
    rows = [row for row in fidelity.read_rows(clean.tree) if row.id in ("code-0", "german-1", "text-2")]
    tokens = _tokens(quantize_python, trees["nvfp4"], [row.id for row in rows], tmp_path)
    argv = ["-m", "tests.unit.steps.reference_fidelity", trees["master"], trees["nvfp4"], tokens]
    found = [json.loads(line) for line in _python(quantize_python, argv).splitlines()]
    for row, whole in zip(rows, found, strict=True):
        assert row.positions == len(whole["kl"])
        assert abs(row.kl - sum(whole["kl"])) <= ROUNDING * row.positions
        assert abs(row.master_nll + sum(whole["master"])) <= ROUNDING * row.positions
        assert abs(row.nvfp4_nll + sum(whole["nvfp4"])) <= ROUNDING * row.positions


def test_one_scale_of_a_fused_group_off_by_half_fails_a_gate(
    clean: Ran, trees: dict[str, Path], quantize_python: Path, tmp_path: Path
) -> None:
    def damage(release: Path) -> None:
        edit_tensor(
            release,
            f"{LAYER}.mlp.up_proj.weight_scale_2",
            lambda data: struct.pack("<f", 1.5 * struct.unpack("<f", data)[0]),
        )

    ran = _damaged(trees, damage, quantize_python, tmp_path)
    assert _figure(ran, "kl_mean") > 1.5 * _figure(clean, "kl_mean")
    assert "divergence" in _failed(ran)


def test_one_quantized_layer_of_the_vision_tower_fails_its_gate(
    clean: Ran, trees: dict[str, Path], quantize_python: Path, tmp_path: Path
) -> None:
    def pack(tensors: Tensors) -> Tensors:
        _, shape, data = tensors[f"{FC1}.weight"]
        bits = nvfp4.bf16(data, shape)
        scale = nvfp4.global_scale([(FC1, bits)])
        packed = nvfp4.pack(FC1, bits, scale)
        rows, columns = shape
        found = dict(tensors)
        found[f"{FC1}.weight"] = ("U8", (rows, columns // 2), packed.codes.tobytes())
        found[f"{FC1}.weight_scale"] = ("F8_E4M3", (rows, columns // 16), packed.scales.tobytes())
        found[f"{FC1}.weight_scale_2"] = ("F32", (), np.float32(scale).tobytes())
        found[f"{FC1}.input_scale"] = ("F32", (), np.float32(0.001).tobytes())
        return found

    ran = _damaged(trees, lambda release: rewrite(release, pack), quantize_python, tmp_path)
    assert _figure(clean, "vision_relative_error") == 0 < _figure(ran, "vision_relative_error")
    assert _failed(ran) == {"vision-tower-untouched"}


def test_a_master_held_against_itself_is_no_release(
    trees: dict[str, Path], quantize_python: Path, tmp_path: Path
) -> None:
    itself = tmp_path / "itself"
    shutil.copytree(TINY / "master", itself)
    shutil.copyfile(trees["nvfp4"] / "chat_template.jinja", itself / "chat_template.jinja")
    ran = _run(tmp_path, trees | {"nvfp4": itself}, _few(tmp_path / "rows"), quantize_python)
    assert ran.code == 0, ran.error
    assert _figure(ran, "kl_mean") == 0 and _figure(ran, "top1_agreement") == 1
    told = {verdict.name: verdict for verdict in _judged(ran)}
    assert told["divergence"].outcome is Outcome.FAIL
    assert "anomalous: the divergence is exactly 0" in told["divergence"].sentence


def test_a_scale_that_is_nan_is_named(trees: dict[str, Path], quantize_python: Path, tmp_path: Path) -> None:
    name = f"{LAYER}.mlp.down_proj.weight_scale"

    def damage(release: Path) -> None:
        edit_tensor(release, name, lambda data: b"\x7f" + data[1:])

    ran = _damaged(trees, damage, quantize_python, tmp_path, whole=False)
    assert ran.code == 6 and name in ran.error


def _damaged(
    trees: dict[str, Path],
    damage: Callable[[Path], None],
    python: Path,
    tmp_path: Path,
    *,
    whole: bool = True,
) -> Ran:
    release = tmp_path / "damaged"
    shutil.copytree(trees["nvfp4"], release)
    damage(release)
    rows = TINY if whole else _few(tmp_path / "rows")
    ran = _run(tmp_path, trees | {"nvfp4": release}, rows, python)
    assert not whole or ran.code == 0, ran.error + ran.log
    return ran


def _few(folder: Path) -> Path:
    """Write the first rows alone."""
    folder.mkdir()
    lines = (TINY / "fidelity.jsonl").read_text().splitlines(keepends=True)
    (folder / "fidelity.jsonl").write_text("".join(lines[:3]))
    return folder


def _run(root: Path, trees: dict[str, Path], rows: Path, python: Path) -> Ran:
    return run_step("fidelity", root / "step", {**trees, "rows": rows}, PARAMS, python)


def _evidence(ran: Ran) -> Evidence:
    return evidence.parse((ran.tree / "evidence.json").read_text())


def _figure(ran: Ran, name: str) -> float:
    found = _evidence(ran).figure(name)
    assert found is not None
    return found.value


def _judged(ran: Ran) -> tuple[Verdict, ...]:
    """Judge the tiny recipe's gates of fidelity."""
    rows = tomllib.loads((TINY / "recipe.toml").read_text())["gates"]
    gates = parse_gates([row for row in rows if row["figure"].startswith("fidelity.")], ("fidelity", "prove"))
    found = Found(
        evidence={"fidelity": _evidence(ran), "prove": Evidence()}, rows=fidelity.read_rows(ran.tree)
    )
    return judge_all(gates, found).gates


def _failed(ran: Ran) -> set[str]:
    return {verdict.name for verdict in _judged(ran) if not verdict.holds}


def _tokens(python: Path, tree: Path, names: list[str], folder: Path) -> Path:
    """Write the token ids of rows, in the order of ``names``."""
    code = f"""
import json
from pathlib import Path
from recipes.chats.tokens import Tokens
from recipes.steps.fidelity.rows import read_samples, tokenize
tree = Path({str(tree)!r})
rows = {{sample.id: sample for sample in read_samples(Path({str(TINY / "fidelity.jsonl")!r}))}}
found = tokenize([rows[name] for name in {names!r}], Tokens(tree, tree), 256)
print(json.dumps([list(row.tokens) for row in found]))
"""
    path = folder / "tokens.json"
    path.write_text(_python(python, ["-c", code]))
    return path


def _python(python: Path, argv: list[object]) -> str:
    done = subprocess.run(
        [str(part) for part in (python, *argv)],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
