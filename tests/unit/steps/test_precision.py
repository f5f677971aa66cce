"""Every option of a recipe, through the real steps on the tiny checkpoint: what follows from it agrees."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from recipes.formats import calibration, evidence, strict_json
from recipes.formats.byte_budget import plan_byte_budget
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.precision import parse_precision
from recipes.formats.qwen3_5 import parse_layout
from recipes.steps.configure.main import main as configure
from recipes.steps.graft.main import main as graft
from recipes.steps.prove.main import main as prove
from tests.unit.steps.scratch import KEEP_BF16, PRECISION, REPOSITORY, run_step
from tests.unit.steps.synthetic import SAMPLING, configure_inputs, run_here

TINY = REPOSITORY / "recipes" / "tiny"
TEMPLATES = REPOSITORY / "recipes" / "templates"
VISION, CONV, HEAD, MTP = KEEP_BF16

# Options that differ from "everything packed", and the ignore list that follows.
OPTIONS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "gates": ({"in_proj_ab": "bf16"}, (VISION, "*linear_attn.in_proj_ba*", CONV, HEAD, MTP)),
    "linear attention": (
        {"in_proj_ab": "bf16", "linear_attention": "bf16"},
        (VISION, "*linear_attn*", HEAD, MTP),
    ),
    "weights only": ({"activations": "bf16"}, KEEP_BF16),
    "both": (
        {"in_proj_ab": "bf16", "linear_attention": "bf16", "activations": "bf16"},
        (VISION, "*linear_attn*", HEAD, MTP),
    ),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One set of options, taken through the line. ``bodies`` is exporter → tree."""

    options: dict[str, object]
    ignore: tuple[str, ...]
    calibration: Path
    bodies: dict[str, Path]
    nvfp4: Path
    master: Path


@pytest.fixture(scope="module", params=OPTIONS, ids=str)
def line(
    request: pytest.FixtureRequest, quantize_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Line:
    folder = tmp_path_factory.mktemp("line")
    changed, ignore = OPTIONS[request.param]
    options: dict[str, object] = {**PRECISION, **changed}
    rows = {"samples": 1, "max_seq_len": 32, "rows_license": "Apache-2.0", "slow_linear_attention": False}
    given = {"master": TINY / "master", "rows": TINY, "chat_template": TEMPLATES}
    calibrated = run_step("calibrate", folder / "calibrate", given, options | rows, quantize_python)
    assert calibrated.code == 0, calibrated.error + calibrated.log
    bodies = {}
    for exporter in ("stream", "modelopt"):
        inputs = {"master": TINY / "master", "calibration": calibrated.tree}
        params = options | {"exporter": exporter, "max_shard_size": "1MB"}
        ran = run_step("quantize", folder / exporter, inputs, params, quantize_python)
        assert ran.code == 0, ran.error + ran.log
        bodies[exporter] = ran.tree
    trees = {}
    for name, body in (("nvfp4", bodies["stream"]), ("master", TINY / "master")):
        grafted = run_here(graft, folder / f"graft-{name}", {"body": body, "head": TINY / "base"}, {})
        params = {"quantized": name == "nvfp4", "sampling": SAMPLING}
        inputs = configure_inputs(grafted, TINY / "master")
        trees[name] = run_here(configure, folder / f"configure-{name}", inputs, params)
    return Line(options, ignore, calibrated.tree, bodies, **trees)


pytestmark = pytest.mark.env


def test_both_exporters_write_equal_bytes_and_configs(line: Line) -> None:
    ours, theirs = (open_checkpoint(tree) for tree in line.bodies.values())
    assert _tensors(ours) == _tensors(theirs)
    for name in ("config.json", "hf_quant_config.json"):
        one, other = (json.loads((tree / name).read_text()) for tree in line.bodies.values())
        assert one == other, name


def test_the_ignore_list_follows_and_every_claim_holds(line: Line, tmp_path: Path) -> None:
    config = strict_json.read_table(line.nvfp4 / "config.json")["quantization_config"]
    assert isinstance(config, dict) and set(config["ignore"]) == set(line.ignore)
    inputs = {
        "nvfp4": line.nvfp4,
        "release_master": line.master,
        "base": TINY / "base",
        "master": TINY / "master",
        "calibration": line.calibration,
        "chat_template": TEMPLATES,
    }
    tree = run_here(prove, tmp_path / "prove", inputs, line.options)
    found = evidence.parse((tree / evidence.EVIDENCE_FILE).read_text())
    assert not found.failed() and len(found.proofs) >= 30
    ledger = json.loads((tree / "ledger.json").read_text())["trees"]
    planned = plan_byte_budget(
        open_checkpoint(TINY / "master"),
        open_checkpoint(TINY / "base"),
        parse_layout(strict_json.read_table(TINY / "master" / "config.json")),
        parse_precision(line.options, "recipe"),
    )
    for name, budget in (("nvfp4", planned.nvfp4), ("master", planned.master)):
        classes = {kind: entry["bytes"] for kind, entry in ledger[name]["classes"].items()}
        assert dict(budget) == classes
        assert sum(budget.values()) == ledger[name]["totals"]["bytes"]


def test_a_recipe_that_packs_another_way_is_told(line: Line, tmp_path: Path) -> None:
    inputs = {
        "nvfp4": line.nvfp4,
        "release_master": line.master,
        "base": TINY / "base",
        "master": TINY / "master",
        "calibration": line.calibration,
        "chat_template": TEMPLATES,
    }
    tree = run_here(prove, tmp_path / "prove", inputs, PRECISION)
    failed = {proof.name for proof in evidence.parse((tree / evidence.EVIDENCE_FILE).read_text()).failed()}
    assert "nvfp4-body" in failed


def test_without_input_scales_nothing_is_calibrated(line: Line) -> None:
    found = calibration.read(line.calibration / calibration.CALIBRATION_FILE)
    scaled = [name for name in open_checkpoint(line.nvfp4).tensors if name.endswith(".input_scale")]
    wanted = line.options["activations"] == "nvfp4"
    assert bool(found.ranges) is bool(scaled) is wanted


def _tensors(checkpoint: Checkpoint) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (place.tensor.dtype, place.tensor.shape, checkpoint.read(name))
        for name, place in checkpoint.tensors.items()
    }
