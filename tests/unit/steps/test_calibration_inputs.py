"""Rows and rules of the torch steps, as far as they need no torch."""

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.chats.rows import read_rows
from recipes.formats.master import open_master, require_bf16
from recipes.formats.precision import Precision, parse_precision
from recipes.formats.step import StepError
from recipes.steps.quantize.modelopt.rules import quant_config
from tests.unit.steps.scratch import PRECISION
from tests.unit.steps.synthetic import build_sources, rewrite

GOOD: dict[str, Any] = {"id": "a", "messages": [{"role": "user", "content": "hi"}]}
DEFAULT = {
    "quant_cfg": [
        {"quantizer_name": "*", "enable": False},
        {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": (2, 1)}},
        {"quantizer_name": "*input_quantizer", "cfg": {"num_bits": (2, 1)}},
        {"quantizer_name": "*linear_attn.in_proj_a*", "enable": False},
    ],
    "algorithm": "max",
}


def test_rows_are_read_in_order_up_to_the_count(tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "ho"}
    rows = [
        GOOD,
        {**GOOD, "id": "b", "messages": [*GOOD["messages"], reply], "thinking": True, "tools": [{}]},
    ]
    path = _write(tmp_path, [json.dumps(row) for row in rows], "", "not read")
    first, second = read_rows(path, 2)
    assert (first.id, first.wants_reply, first.thinking, first.tools) == ("a", True, None, None)
    assert (second.id, second.wants_reply, second.thinking, second.tools) == ("b", False, True, [{}])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "calibration.jsonl:1: expected JSON"),
        ("{}", "expected an id"),
        (json.dumps({**GOOD, "messages": []}), "expected an id"),
        (json.dumps({**GOOD, "messages": ["hi"]}), "messages: expected a list of tables"),
        (json.dumps({**GOOD, "tools": {}}), "tools: expected a list"),
        (json.dumps({**GOOD, "thinking": "yes"}), "thinking: expected true or false"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(StepError, match=words):
        read_rows(_write(tmp_path, [row]), 1)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="expected 2 rows, got 1"):
        read_rows(_write(tmp_path, [json.dumps(GOOD)]), 2)


def test_rules_are_appended_and_the_default_is_left_alone() -> None:
    config = quant_config(DEFAULT, _precision())
    rules: Any = config["quant_cfg"]
    assert rules[:4] == DEFAULT["quant_cfg"]
    gates = [rule for rule in rules[4:] if rule["enable"]]
    assert [rule["quantizer_name"] for rule in gates] == [
        f"*linear_attn.in_proj_{gate}.{kind}_quantizer" for gate in "ab" for kind in ("weight", "input")
    ]
    assert all(rule["cfg"] == {"num_bits": (2, 1)} for rule in gates)
    assert {"quantizer_name": "*linear_attn.conv1d*", "enable": False} in rules
    assert len(DEFAULT["quant_cfg"]) == 4


def test_a_config_of_another_modelopt_is_refused() -> None:
    with pytest.raises(StepError, match="modelopt"):
        quant_config({"quant_cfg": {}}, _precision())


def test_a_master_that_modelopt_would_round_is_refused(tmp_path: Path) -> None:
    folder = build_sources(tmp_path)["master"]
    require_bf16(open_master(folder))
    name = "model.language_model.layers.0.linear_attn.A_log"
    rewrite(folder, lambda tensors: tensors | {name: ("F32", (2,), bytes(8))})
    with pytest.raises(StepError, match=r"A_log: expected BF16, got F32"):
        require_bf16(open_master(folder))


def _precision() -> Precision:
    return parse_precision(PRECISION, "recipe")


def _write(folder: Path, rows: list[str], *more: str) -> Path:
    path = folder / "calibration.jsonl"
    path.write_text("\n".join([*rows, *more]))
    return path
