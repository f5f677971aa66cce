"""Every figure of the evidence stands on the card: change one, and the card changes or is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from release.card.step import CARD as STEP
from release.errors import GraftsmithError
from release.hoststep import Input, Inputs
from tests.unit.card.inputs import Case, params, shown

FILES = (
    "prove/ledger.json",
    "prove/evidence.json",
    "smoke-nvfp4/evidence.json",
    "smoke-master/evidence.json",
    "gate/verdicts.json",
    "fidelity/evidence.json",
    "calibrate/calibration.json",
    "tree/config.json",
)

NOT_SAID = (
    "format",
    # The verdict's sentence says these; the card quotes the sentence.
    "gates.*.value",
    "gates.*.baseline",
    "gates.*.threshold",
    "gates.*.n",
    # The ranges are published as a file of their own; the card says how many there are.
    "groups.*.input_amax",
    "groups.*.input_scale",
    # Which seeds were drawn stands in the evidence; no reader repeats the draw from a card.
    "facts.profile.sampling.seed",
    # The change stands there in percent, and the plot on the report.
    "facts.kl_by_position.*.*.*",
    # A gate holds its floor against it; the card's command says the profile's own.
    "facts.speculative_tokens",
    # How tensors of one kind divide into dtypes: the card names the dtypes and the sum.
    "trees.*.classes.*.dtypes.*",
    # Shapes that the architecture table does not list.
    "text_config.intermediate_size",
    "text_config.linear_key_head_dim",
    "vision_config.depth",
    "quantization_config.config_groups.group_0.weights.num_bits",
)


def _leaves(value: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*at, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*at, str(index)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at


def _said(at: tuple[str, ...]) -> bool:
    def matches(pattern: str) -> bool:
        parts = pattern.split(".")
        return len(parts) == len(at) and all(p in ("*", a) for p, a in zip(parts, at, strict=True))

    return not any(matches(pattern) for pattern in NOT_SAID)


def _changed(data: object, at: tuple[str, ...]) -> object:
    if not at:
        assert isinstance(data, int | float)
        return data * 2 + 1  # far enough to survive rounding to what a reader can use
    first, *rest = at
    if isinstance(data, dict):
        return {**data, first: _changed(data[first], tuple(rest))}
    assert isinstance(data, list)
    index = int(first)
    return [*data[:index], _changed(data[index], tuple(rest)), *data[index + 1 :]]


def _render(inputs: Inputs, kind: str) -> bytes:
    try:
        return STEP.function(inputs, params(kind)).new["README.md"]
    except GraftsmithError as error:
        return str(error).encode()


@pytest.mark.parametrize("file", FILES)
def test_a_changed_figure_changes_a_card(file: str, tmp_path: Path) -> None:
    inputs = Case().write(tmp_path / "right")
    right = {kind: _render(inputs, kind) for kind in ("nvfp4", "master")}
    data = json.loads((tmp_path / "right" / file).read_text())
    name, _, path = file.partition("/")
    figures = [at for at in _leaves(data) if _said(at)]
    assert figures or file in ("prove/evidence.json", "gate/verdicts.json")  # words, no numbers of theirs
    silent = []
    for number, at in enumerate(figures):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "right" / name, folder)
        (folder / path).write_text(json.dumps(_changed(data, at)))
        # The digest of the changed tree is on the card too: held fast, so that only the figure speaks.
        changed = {**inputs, name: Input(folder, inputs[name].tree)}
        if all(_render(changed, kind) == text for kind, text in right.items()):
            silent.append(".".join(at))
    assert silent == []


@pytest.mark.parametrize("name", ["prove", "smoke-nvfp4", "smoke-master", "calibrate", "gate"])
def test_without_an_input_there_is_no_card(name: str, tmp_path: Path) -> None:
    inputs = {key: given for key, given in Case().write(tmp_path).items() if key != name}
    with pytest.raises(KeyError, match=name):
        STEP.function(inputs, params("nvfp4"))


def test_shown_trees_have_digests_of_their_own(tmp_path: Path) -> None:
    inputs = Case().write(tmp_path)
    text = _render(inputs, "nvfp4").decode()
    assert inputs["tree"].tree.digest in text
    assert shown(tmp_path / "sibling").tree.digest in text
