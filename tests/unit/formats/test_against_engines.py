"""The formats against the programs that define them: modelopt's packer, vLLM's matcher."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from recipes.formats.ignore import IgnoreError, is_excluded, rename_for_vllm, vllm_name
from recipes.formats.ignore_compiler import COMPRESSED_TENSORS, VLLM, Engine, compile_ignore
from recipes.formats.ignore_compressed import is_ignored, rename_for_compressed_tensors
from recipes.formats.qwen3_5 import LM_HEAD, is_linear
from tests.unit.formats import test_ignore as known
from tests.unit.formats.families import families
from tests.unit.formats.packings import PACKINGS

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
EXPRESSIONS = [
    ["re:.*visual.*", "re:.*linear_attn\\.conv1d.*", "re:.*lm_head.*", "re:.*mtp.*"],
    ["re:^mtp.*", "lm_head"],
    ["re:visual", "re:model.visual.*"],
    ["re:.*in_proj_[ab]$"],
    ["re:.*in_proj_a$"],
    ["re:.*in_proj_ba.*"],
    list(known.GATES),
    [f"model.language_model.layers.3.self_attn.{leaf}_proj" for leaf in "qkv"],
    ["model.language_model.layers.3.self_attn.q_proj"],
    ["language_model.model.layers.3.self_attn.qkv_proj"],
    ["model.visual.blocks.0.attn.qkv", "mtp.fc", "*mtp*"],
    ["re:.*layers\\.0\\..*"],
    ["Linear"],
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


@pytest.fixture(scope="module")
def vllm_says(serve_python: Path) -> dict[str, list[dict[str, str]]]:
    """Return vLLM's answers to every question of this module, for which it is loaded once."""
    compiled = {engine.dialect: _compiled(engine) for engine in (VLLM, COMPRESSED_TENSORS)}
    built = sorted({name for packing in PACKINGS for name in _built(packing.kept | packing.packed)})
    questions: dict[str, list[object]] = {
        "modelopt": ["modelopt", NAMES, PATTERNS],
        "compressed-tensors": ["compressed-tensors", NAMES, EXPRESSIONS],
        **{f"compiled {dialect}": [dialect, built, lists] for dialect, lists in compiled.items()},
    }
    answers = json.loads(reference(serve_python, "reference_vllm", json.dumps(list(questions.values()))))
    return dict(zip(questions, answers, strict=True))


@pytest.mark.env
def test_the_ignore_list_is_read_as_vllm_reads_it(vllm_says: dict[str, list[dict[str, str]]]) -> None:
    for patterns, answer in zip(PATTERNS, vllm_says["modelopt"], strict=True):
        assert {name: _ours(name, patterns) for name in NAMES} == answer, patterns


@pytest.mark.env
def test_a_list_of_compressed_tensors_is_read_as_vllm_reads_it(
    vllm_says: dict[str, list[dict[str, str]]],
) -> None:
    for patterns, answer in zip(EXPRESSIONS, vllm_says["compressed-tensors"], strict=True):
        assert {name: _ours_compressed(name, patterns) for name in NAMES} == answer, patterns


@pytest.mark.env
@pytest.mark.parametrize("engine", [VLLM, COMPRESSED_TENSORS], ids=lambda engine: engine.dialect)
def test_vllm_builds_under_a_compiled_list_what_the_bytes_are(
    vllm_says: dict[str, list[dict[str, str]]], engine: Engine
) -> None:
    answers = vllm_says[f"compiled {engine.dialect}"]
    for packing, patterns, answer in zip(PACKINGS, _compiled(engine), answers, strict=True):
        for module in packing.kept | packing.packed:
            wanted = "kept" if module in packing.kept else "quantized"
            for name in _built([module]):
                assert answer[name] == wanted, (packing.name, patterns, name)


def _compiled(engine: Engine) -> list[list[str]]:
    return [list(compile_ignore(packing.kept, packing.packed, engine)) for packing in PACKINGS]


def _built(modules: Iterable[str]) -> list[str]:
    """Return the names that vLLM asks about; it builds the output head a second time for drafts."""
    linears = [module for module in modules if is_linear(module)]
    return [*map(vllm_name, linears), *([LM_HEAD] if LM_HEAD in linears else [])]


def _ours(name: str, patterns: list[str]) -> str:
    of_draft = name.startswith("mtp.") or name == "lm_head"
    try:
        excluded = is_excluded(name, patterns if of_draft else rename_for_vllm(patterns))
    except IgnoreError:
        return "refused"
    return "kept" if excluded else "quantized"


def _ours_compressed(name: str, patterns: list[str]) -> str:
    of_draft = name.startswith("mtp.") or name == "lm_head"
    try:
        ignored = is_ignored(name, patterns if of_draft else rename_for_compressed_tensors(patterns))
    except IgnoreError:
        return "refused"
    return "kept" if ignored else "quantized"
