"""Published ranges survive the way through the file, and a bad one is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.formats import calibration
from recipes.formats.calibration import Calibration, Range
from recipes.formats.nvfp4 import input_scale

SOUND = {"members": ["a", "b"], "input_amax": 3.5, "input_scale": 0.25}


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_float32_figures_survive(tmp_path_factory: pytest.TempPathFactory, amax: float) -> None:
    scale = float(input_scale(np.float32(amax)))
    group = Range(members=("a", "b"), input_amax=amax, input_scale=scale)
    wanted = Calibration(ranges=(group,), rows=1, tokens=2, max_seq_len=3, versions={"torch": "2"})
    path = tmp_path_factory.mktemp("c") / "calibration.json"
    path.write_text(calibration.dump(wanted))
    assert calibration.read(path) == wanted
    assert calibration.read(path).amax_of() == {"a": amax, "b": amax}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([{**SOUND, "input_amax": 0.0}], "a: expected a positive float32"),
        ([{**SOUND, "input_amax": -1.0}], "a: expected a positive float32"),
        ([{**SOUND, "input_scale": 0.1}], "a: expected a positive float32"),
        ([{**SOUND, "input_amax": 1e300}], "a: expected a positive float32"),
        ([{**SOUND, "members": []}], "expected members"),
        ([{**SOUND, "input_amax": "3"}], "expected members"),
        ([SOUND, SOUND], "a is in two groups"),
        ({}, "expected format 1"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, groups: object, words: str) -> None:
    data: dict[str, Any] = {
        "format": 1,
        "groups": groups,
        "rows": 1,
        "tokens": 1,
        "max_seq_len": 1,
        "versions": {},
    }
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=words):
        calibration.read(path)
