"""Every file of a release beside the weights is decided, and none of it is code."""

import json
from pathlib import Path

import pytest

from recipes.formats.ignore import IgnoreError
from recipes.formats.step import StepError, Taken
from recipes.steps.configure.ignore_list import derive_ignore, render_ignore
from recipes.steps.configure.main import main as configure
from tests.unit.steps.scratch import KEEP_BF16, REPOSITORY, run_step
from tests.unit.steps.synthetic import (
    SAMPLING,
    build_release,
    build_sources,
    configure_inputs,
    rewrite,
    run_here,
)

TEMPLATES = REPOSITORY / "recipes" / "templates"
PLAIN = {"quantized": False, "sampling": SAMPLING}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    sources = build_sources(tmp_path)
    return configure_inputs(sources["master"], sources["master"])


def test_the_locked_template_wins_over_whatever_the_master_has(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    (inputs["master"] / "chat_template.jinja").write_text("old")
    _edit(inputs["master"] / "tokenizer_config.json", chat_template="older")
    ran = run_step("configure", tmp_path / "step", inputs, PLAIN)
    assert ran.code == 0, ran.log
    assert ran.files["chat_template.jinja"] == Taken("chat_template", "chat_template.jinja")
    assert json.loads((ran.tree / "tokenizer_config.json").read_text()) == {"eos_token": "<|im_end|>"}


def test_a_plain_tree_keeps_the_masters_config_and_declares_the_head(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    _edit(inputs["master"] / "config.json", _name_or_path="/home/somebody/model", future_field=[1])
    tree = run_here(configure, tmp_path / "step", inputs, PLAIN)
    config = json.loads((tree / "config.json").read_text())
    assert config["future_field"] == [1] and "_name_or_path" not in config
    assert config["text_config"]["mtp_num_hidden_layers"] == 1
    assert not (tree / "hf_quant_config.json").exists()


def test_both_quantization_configs_carry_one_ignore_list(tmp_path: Path) -> None:
    tree = build_release(tmp_path).nvfp4
    new = json.loads((tree / "config.json").read_text())["quantization_config"]
    old = json.loads((tree / "hf_quant_config.json").read_text())["quantization"]
    assert new["ignore"] == old["exclude_modules"] == list(KEEP_BF16)
    assert new["quant_algo"] == "NVFP4"


def test_sampling_comes_from_the_recipe_and_token_ids_from_the_master(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    tree = run_here(configure, tmp_path / "step", inputs, PLAIN)
    generation = json.loads((tree / "generation_config.json").read_text())
    assert generation == {**SAMPLING, "do_sample": True, "eos_token_id": [1, 2]}


def test_files_nobody_asked_for_stay_behind(inputs: dict[str, Path], tmp_path: Path) -> None:
    (inputs["tree"] / "README.md").write_text("the master's card")
    assert not (run_here(configure, tmp_path / "step", inputs, PLAIN) / "README.md").exists()


@pytest.mark.parametrize("file", ["modeling_x.py", "optimizer.pt", "sub/hook.pkl"])
def test_code_is_refused_by_name(inputs: dict[str, Path], tmp_path: Path, file: str) -> None:
    path = inputs["master"] / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(StepError, match=file):
        run_here(configure, tmp_path / "step", inputs, PLAIN)


@pytest.mark.parametrize("auto_map", [{"AutoTokenizer": "x.Y"}, ["x.Y", None]])
def test_a_config_that_loads_code_is_refused(
    inputs: dict[str, Path], tmp_path: Path, auto_map: object
) -> None:
    _edit(inputs["master"] / "tokenizer_config.json", auto_map=auto_map)
    with pytest.raises(StepError, match=r"tokenizer_config\.json: auto_map"):
        run_here(configure, tmp_path / "step", inputs, PLAIN)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({**PLAIN, "quantized": True}, "quantization_config: expected a table"),
        ({**PLAIN, "sampling": {"temprature": 0.7}}, "temprature"),
        ({**PLAIN, "sampling": {"top_p": "0.95"}}, "top_p"),
        ({"sampling": {}}, "quantized"),
    ],
)
def test_a_bad_parameter_is_named(
    inputs: dict[str, Path], tmp_path: Path, params: dict[str, object], words: str
) -> None:
    with pytest.raises(StepError, match=words):
        run_here(configure, tmp_path / "step", inputs, params)


def test_a_quantized_master_is_no_master(inputs: dict[str, Path], tmp_path: Path) -> None:
    _edit(inputs["master"] / "config.json", quantization_config={})
    with pytest.raises(StepError, match="BF16 checkpoint"):
        run_here(configure, tmp_path / "step", inputs, PLAIN)


def test_a_half_packed_fused_module_has_no_list_and_is_named(tmp_path: Path) -> None:
    body = build_release(tmp_path / "release").nvfp4
    gate = "model.language_model.layers.0.linear_attn.in_proj_a"
    rewrite(body, lambda tensors: {n: v for n, v in tensors.items() if n != f"{gate}.weight_scale"})
    with pytest.raises(IgnoreError, match=gate):
        derive_ignore(body)


def test_patterns_come_through_the_template_unchanged(tmp_path: Path) -> None:
    patterns = ["*visual*", 'quo"te', "<&>", "ä", "back\\slash"]
    assert render_ignore(TEMPLATES, patterns) == patterns
    (tmp_path / "ignore.json.jinja").write_text("{{ unknown }}")
    with pytest.raises(ValueError, match=r"ignore\.json\.jinja"):
        render_ignore(tmp_path, patterns)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
