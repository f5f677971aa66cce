"""The prove step: what it writes of a sound release, and what ends it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.formats import evidence
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.evidence import Evidence
from recipes.formats.qwen3_5 import Kind, kind_of
from recipes.formats.step import Exit, StepError
from recipes.steps.prove.main import main as prove
from tests.unit.steps.scratch import KEEP_BF16, run_step
from tests.unit.steps.synthetic import Release, build_release, edit_json, rewrite, run_here


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def proved(sound: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_here(prove, tmp_path_factory.mktemp("prove") / "step", sound.inputs(), sound.params)


@pytest.fixture
def release(sound: Release, tmp_path: Path) -> Release:
    return sound.copy(tmp_path / "release")


def read(tree: Path) -> Evidence:
    return evidence.parse((tree / evidence.EVIDENCE_FILE).read_text())


def test_a_sound_release_holds_in_a_process_of_its_own(sound: Release, tmp_path: Path) -> None:
    ran = run_step("prove", tmp_path, sound.inputs(), sound.params)
    assert ran.code == 0, ran.log
    found = read(ran.tree)
    assert len(found.proofs) >= 30 and not found.failed()
    assert found.facts["quantized_linears"] == 15
    assert found.facts["not_checked"] == {}
    assert set(ran.files) == {"evidence.json", "ledger.json", "ledger.svg"}


def test_gates_kept_in_bf16_hold_when_recipe_and_ignore_list_say_so(tmp_path: Path) -> None:
    release = build_release(tmp_path / "release", in_proj_ab=False)
    found = read(run_here(prove, tmp_path / "prove", release.inputs(), release.params))
    assert not found.failed() and found.facts["in_proj_ab"] == "bf16"


def test_the_ledger_says_what_every_byte_is_for(sound: Release, proved: Path) -> None:
    trees = json.loads((proved / "ledger.json").read_text())["trees"]
    packed, plain = trees["nvfp4"], trees["master"]
    assert packed["totals"]["parameters"] == plain["totals"]["parameters"]
    assert packed["totals"]["bytes"] == open_checkpoint(sound.nvfp4).data_bytes < plain["totals"]["bytes"]
    assert packed["classes"]["mtp"] == plain["classes"]["mtp"]
    assert packed["classes"]["mlp"]["dtypes"] == {"F32": 12, "F8_E4M3": 6, "U8": 6}
    for name, folder in (("nvfp4", sound.nvfp4), ("master", sound.release_master)):
        tree = trees[name]
        assert tree["implied"]["bytes"] == tree["totals"]["bytes"]
        for line in (*tree["classes"].values(), tree["totals"]):
            assert sum(line["parts"].values()) == line["bytes"]
        counted = tree["totals"]["bytes"] + tree["files"]["headers"] + tree["files"]["other"]
        assert counted == sum(path.stat().st_size for path in folder.iterdir())


def test_lineage_says_what_training_changed(proved: Path) -> None:
    lineage = read(proved).facts["lineage"]
    assert isinstance(lineage, dict)
    assert lineage["compared"] == "every tensor of the base" and lineage["vision_frozen"]
    assert lineage["classes"]["mlp"] == {"equal": 0, "changed": 6, "only_base": 0, "only_master": 0}
    assert lineage["classes"]["mtp"]["only_base"] == 15


def test_a_base_of_draft_head_and_tower_alone_is_enough(release: Release, tmp_path: Path) -> None:
    wanted = (Kind.MTP, Kind.VISION)
    rewrite(release.base, lambda tensors: {n: t for n, t in tensors.items() if kind_of(n) in wanted})
    found = read(run_here(prove, tmp_path / "prove", release.inputs(), release.params))
    assert not found.failed()
    assert {"mtp-verbatim-nvfp4", "vision-verbatim-master"} <= {proof.name for proof in found.proofs}
    lineage = found.facts["lineage"]
    assert isinstance(lineage, dict)
    assert lineage["compared"] == "the base's draft head and vision tower alone"
    assert set(lineage["classes"]) == {"mtp", "vision"}


def test_a_base_without_a_tower_proves_nothing_of_it(release: Release, tmp_path: Path) -> None:
    rewrite(release.base, lambda tensors: {n: t for n, t in tensors.items() if kind_of(n) is Kind.MTP})
    found = read(run_here(prove, tmp_path / "prove", release.inputs(), release.params))
    assert "vision-verbatim-nvfp4" not in {proof.name for proof in found.proofs}
    left = found.facts["not_checked"]
    assert isinstance(left, dict) and "no vision tensor" in left["vision-verbatim-nvfp4"]


def test_the_seeds_four_patterns_are_derived_from_the_bytes(proved: Path) -> None:
    lists = read(proved).facts["shortest_ignore_lists"]
    assert isinstance(lists, dict)
    assert lists["vllm"] == lists["sglang"] == list(KEEP_BF16)


def _truncate(release: Release) -> None:
    shard = sorted(release.nvfp4.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-1])


def _twice_in_index(release: Release) -> None:
    index = release.nvfp4 / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"lm_head.weight"', '"mtp.fc.weight"'))


@pytest.mark.parametrize(
    ("edit", "words", "code"),
    [
        (_truncate, r"safetensors: data: expected", Exit.PROOF),
        (_twice_in_index, r"index\.json: expected JSON, got key", Exit.PROOF),
        (lambda r: (r.calibration / "calibration.json").unlink(), "calibration", Exit.PROOF),
        (lambda r: edit_json(r.master / "config.json", model_type="llama"), "model_type", Exit.CONFIG),
        (lambda r: edit_json(r.nvfp4 / "config.json", model_type="llama"), "model_type", Exit.PROOF),
    ],
)
def test_what_cannot_be_opened_ends_the_step(
    release: Release, tmp_path: Path, edit: Callable[[Release], None], words: str, code: Exit
) -> None:
    edit(release)
    with pytest.raises(StepError, match=words) as caught:
        run_here(prove, tmp_path / "prove", release.inputs(), release.params)
    assert caught.value.code is code
