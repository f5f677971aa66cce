"""Answers of a real tiny release: every figure is there, and a damaged build falls through its gate.

The damage is done to the served tree, where no proof looks: only the answers can tell.
"""

import json
import os
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recipes.formats.evidence import EVIDENCE_FILE, Evidence, parse
from recipes.formats.sanity import ANSWERS_FILE, parse_answers
from release import line as lines
from release.derivation import Source
from release.gates.step import gate
from release.hoststep import Input
from release.plan import Graph
from release.store import Store
from release.verdicts import VERDICTS_FILE, Outcome, Verdicts
from release.verdicts import parse as parse_verdicts
from tests.integration.house import House
from tests.integration.small.release import Ear

SCALE = "layers.0.mlp.down_proj.weight_scale_2"
OFF_BY = 4
NVFP4 = "graftsmith/tiny-cascade-NVFP4-MTP/v0.1.0"

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # looks at a whole tiny release, and starts one more model server
    pytest.mark.timeout(900),
]


def built(store: Store, step: str) -> Input:
    """Return a step's result in the store of a finished release."""
    done = store.realizations.last("tiny", step)
    assert done is not None
    tree = store.tree(done.tree)
    assert tree is not None
    return Input(store.folder(done.tree, step), tree)


def evidence(given: Input) -> Evidence:
    return parse((given.folder / EVIDENCE_FILE).read_text())


def test_both_trees_are_asked_everything_that_the_recipe_switches_on(released: House) -> None:
    store = Store(released.store)
    ours, theirs = (built(store, f"sanity-{kind}") for kind in ("nvfp4", "master"))
    counts = {figure.name: figure.n for figure in evidence(ours).measurements}
    assert counts == {
        "arithmetic": 48,
        "instructions": 48,
        "clean_termination_rp1.0": 24,
        "clean_termination_rp1.1": 24,
        "thinking_budget": 24,
        "tool_calls_valid": 16,
        "tool_calls_right": 16,
        "needle": 16,
    }
    assert evidence(ours).facts["parts"] == evidence(theirs).facts["parts"]
    asked = [parse_answers((each.folder / ANSWERS_FILE).read_text()) for each in (ours, theirs)]
    first, second = ({task: set(ids) for task, ids in each.items()} for each in asked)
    assert first == second


def test_the_card_shows_the_answers_and_says_what_was_not_asked(released: House) -> None:
    card = (released.hub / NVFP4 / "README.md").read_text()
    assert "| arithmetic | 48 |" in card
    assert "- pictures and a video: the profile serves without the vision tower." in card
    assert (released.hub / NVFP4 / "evidence" / "sanity-master" / ANSWERS_FILE).is_file()


def test_a_projection_with_a_wrong_scale_falls_through_the_gates_of_answers(
    released: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "house"
    shutil.copytree(
        released.store,
        root / "store",
        symlinks=True,
        copy_function=os.link,
        ignore=shutil.ignore_patterns("locks", "pins", "scratch"),
    )
    monkeypatch.setenv("GRAFTSMITH_STORE", str(root / "store"))
    store = Store(root / "store")
    damaged = tmp_path / "damaged"
    shutil.copytree(built(store, "configure-nvfp4").folder, damaged)
    damage(damaged)
    judged = ask_and_judge(damaged, store)
    failed = {gate.name for gate in judged.gates if gate.outcome is Outcome.FAIL}
    assert "arithmetic-vs-master" in failed, [gate.sentence for gate in judged.gates]


def damage(tree: Path) -> None:
    """Multiply the global scale of one projection; every other byte stays."""
    for shard in tree.glob("*.safetensors"):
        data = bytearray(shard.read_bytes())
        (size,) = struct.unpack("<Q", data[:8])
        entries = json.loads(data[8 : 8 + size])
        for name in [name for name in entries if name.endswith(SCALE)]:
            begin, end = (8 + size + offset for offset in entries[name]["data_offsets"])
            scale = np.frombuffer(bytes(data[begin:end]), np.float32) * OFF_BY
            data[begin:end] = scale.astype(np.float32).tobytes()
            shard.unlink()
            shard.write_bytes(bytes(data))
            return
    raise AssertionError(f"no tensor ends with {SCALE}")


def ask_and_judge(tree: Path, store: Store) -> Verdicts:
    """Run the sanity step on ``tree`` in place of the build, and the gates on what it says."""
    line = lines.open_line("tiny")
    steps = {step.name: step for step in line.steps("0.1.0").steps}
    digest = line.store.stat_cache.tree(tree)
    line = replace(
        line,
        recipe=replace(line.recipe, sources={**line.recipe.sources, "configure-nvfp4": f"path:{tree}"}),
        trees={**line.trees, "configure-nvfp4": digest},
    )
    sources = (
        Source(name="configure-nvfp4", digest=digest.digest),
        Source(name="sanity", digest=line.trees["sanity"].digest),
    )
    graph = Graph(sources=sources, steps=(steps["sanity-nvfp4"],))
    done = lines.realize_line(line, graph, Ear())["sanity-nvfp4"]
    asked = line.store.tree(done.tree)
    assert asked is not None
    inputs = {name: built(store, name) for name in steps["gate"].inputs}
    inputs["sanity-nvfp4"] = Input(line.store.folder(done.tree, "sanity-nvfp4"), asked)
    return parse_verdicts(gate(inputs, steps["gate"].params).new[VERDICTS_FILE].decode())
