"""The formats against the programs that define them: modelopt's packer, vLLM's matcher."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from recipes.formats.ignore import IgnoreError, is_excluded, rename_for_vllm
from tests.unit.formats import test_ignore as known
from tests.unit.formats.families import families

REPOSITORY = Path(__file__).parents[3]
PACKERS = ("numpy", "llvm", "triton")

PATTERNS = [
    ["*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*"],
    ["*model.visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*"],
    ["lm_head", "model.language_model.embed_tokens", "model.visual*", "mtp*", "mtp.layers.0*"],
    ["lm_head", "re:^mtp.*"],
    ["lm_head.*", "model.mtp*", "mtp.fc"],
    ["*in_proj_a*", "*in_proj_b*"],
    ["*in_proj_ba*"],
    list(known.GATES),
    [known.GATES[0]],
    ["model.language_model.layers.3.self_attn.q_proj"],
    [f"model.language_model.layers.3.self_attn.{leaf}_proj" for leaf in "qkv"],
    ["language_model.model.layers.3.self_attn.qkv_proj"],
    ["model.language_model.layers.0*"],
    ["model.language_model.layers.[03].mlp*"],
    ["model.layers.0.*", "layers.3.mlp"],
    ["*"],
    [""],
    [],
]
NAMES = [
    "visual.blocks.0.attn.qkv",
    "visual.merger.linear_fc1",
    "language_model.lm_head",
    "language_model.model.layers.0.linear_attn.in_proj_qkvz",
    "language_model.model.layers.0.linear_attn.in_proj_ba",
    "language_model.model.layers.0.linear_attn.out_proj",
    "language_model.model.layers.3.self_attn.qkv_proj",
    "language_model.model.layers.3.self_attn.o_proj",
    "language_model.model.layers.3.mlp.gate_up_proj",
    "mtp.fc",
    "mtp.layers.0.self_attn.qkv_proj",
    "mtp.layers.0.mlp.down_proj",
    "lm_head",
]


def reference(python: Path, script: str, stdin: str = "") -> str:
    """Run a reference script of this folder with an image's interpreter; return what it printed."""
    done = subprocess.run(
        [python, "-m", f"tests.unit.formats.{script}"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.env
def test_every_packer_is_modelopts_bit_for_bit(quantize_python: Path) -> None:
    differences = json.loads(reference(quantize_python, "reference_modelopt"))
    assert len(differences) == len(PACKERS) * len(families())
    assert {name.rpartition(": ")[2] for name in differences} == set(PACKERS)
    assert {name: parts for name, parts in differences.items() if parts} == {}


@pytest.mark.env
def test_the_ignore_list_is_read_as_vllm_reads_it(serve_python: Path) -> None:
    answers = json.loads(reference(serve_python, "reference_vllm", json.dumps([NAMES, PATTERNS])))
    for patterns, answer in zip(PATTERNS, answers, strict=True):
        assert {name: _ours(name, patterns) for name in NAMES} == answer, patterns


def _ours(name: str, patterns: list[str]) -> str:
    of_draft = name.startswith("mtp.") or name == "lm_head"
    try:
        excluded = is_excluded(name, patterns if of_draft else rename_for_vllm(patterns))
    except IgnoreError:
        return "refused"
    return "kept" if excluded else "quantized"
