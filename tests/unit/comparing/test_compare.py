"""``invoke compare``: real trees of a release in folders, and one of them on a real local Hub."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from recipes.formats import evidence
from recipes.formats.evidence import Evidence, Measurement
from release import record
from release.comparing.compare import Asked, compare, compare_repos
from release.errors import ConfigError, UsageError
from release.record import Record, Sibling
from tests.hub_server.running import OWNER, TOKEN, running
from tests.unit.steps.synthetic import Release, build_release, edit_json, edit_tensor

PROJECT = Path(__file__).parents[3]
UP = "model.language_model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build_release(tmp_path_factory.mktemp("release"))


def test_a_build_and_its_master_differ_where_it_is_packed(release: Release) -> None:
    found = compare(Asked(first=str(release.release_master), second=str(release.nvfp4)))
    assert found.tensors is not None
    verdict = {distance.name: str(distance.verdict) for distance in found.tensors}
    error = {distance.name: distance.error for distance in found.tensors}
    assert verdict[f"{UP}.weight"] == "differs" and verdict["lm_head.weight"] == "equal"
    assert verdict["mtp.fc.weight"] == "equal" and verdict["model.visual.pos_embed.weight"] == "equal"
    told = error[f"{UP}.weight"]
    assert told is not None and 0.07 < told < 0.13
    assert not any(name.endswith("_scale") for name in verdict)


def test_a_damaged_scale_is_told_with_its_error(release: Release, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(release.nvfp4, damaged)
    edit_tensor(
        damaged,
        f"{UP}.weight_scale_2",
        lambda data: struct.pack("<f", 1.5 * struct.unpack("<f", data)[0]),
    )
    found = compare(Asked(first=str(release.nvfp4), second=str(damaged)))
    assert found.tensors is not None
    (only,) = (distance for distance in found.tensors if str(distance.verdict) != "equal")
    assert only.name == f"{UP}.weight" and only.error == pytest.approx(0.5)


def test_the_tables_say_bytes_errors_and_what_was_not_measured(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    compare_repos(Asked(first=str(release.release_master), second=str(release.nvfp4)), as_json=False)
    text = capsys.readouterr().out
    assert "BF16 → F32, F8_E4M3, U8" in text and "differs" in text and "equal" in text
    assert "acceptance length: not measured and not measured" in text
    assert "divergence: not measured; --kl TEXTS measures it" in text


def test_machines_read_every_tensor(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    compare_repos(Asked(first=str(release.base), second=str(release.master)), as_json=True)
    table = json.loads(capsys.readouterr().out)
    assert table["tensors"]["mtp.fc.weight"] == {"verdict": "only in the first", "relative_error": None}
    assert table["tensors"][f"{UP}.weight"]["relative_error"] > 0.5
    assert table["divergence"] is None and table["acceptance_length"][str(release.base)] is None


def test_another_architecture_is_refused(release: Release, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(release.master, other)
    edit_json(other / "config.json", lambda table: table["text_config"].update(intermediate_size=64))
    with pytest.raises(ConfigError, match="not of one architecture"):
        compare(Asked(first=str(release.master), second=str(other)))


def test_what_is_neither_a_folder_nor_a_tagged_repo_is_refused(release: Release) -> None:
    with pytest.raises(UsageError, match="no such folder, and no repo with a tag"):
        compare(Asked(first=str(release.master), second="owner/name"))


def test_a_repo_of_a_hub_is_compared_by_headers_and_evidence(release: Release, tmp_path: Path) -> None:
    tree = _published(release, tmp_path / "tree")
    with running(tmp_path / "hub") as hub:
        api = HfApi(endpoint=hub.url, token=TOKEN)
        api.create_repo(f"{OWNER}/tiny-NVFP4")
        api.upload_folder(repo_id=f"{OWNER}/tiny-NVFP4", folder_path=tree)
        api.create_tag(f"{OWNER}/tiny-NVFP4", tag="v1.0.0")
        # The client reads HF_ENDPOINT when it is imported, so it is asked in a process of its own.
        argv = [sys.executable, "-m", "invoke", "compare", str(tree), f"{OWNER}/tiny-NVFP4@v1.0.0"]
        env = {**os.environ, "HF_ENDPOINT": hub.url, "GRAFTSMITH_STORE": str(tmp_path / "store")}
        said, refused = (
            subprocess.run([*argv, *more], cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
            for more in (("--json",), ("--kl", "rows.jsonl"))
        )
    assert said.returncode == 0, said.stderr
    table = json.loads(said.stdout)
    here, there = table["ledger"].values()
    assert here == there and table["tensors"] is None
    assert list(table["acceptance_length"].values()) == [2.93, 2.93]
    assert refused.returncode == 2 and "both must be folders" in refused.stderr


def _published(release: Release, tree: Path) -> Path:
    """Return the NVFP4 tree with the record and the evidence of a release."""
    shutil.copytree(release.nvfp4, tree)
    made = Record(
        recipe="tiny",
        version="1.0.0",
        kind="nvfp4",
        repo=f"{OWNER}/tiny-NVFP4",
        sibling=Sibling(repo=f"{OWNER}/tiny", version="1.0.0", tree="2" * 64),
        lock="1" * 64,
        promised={"nvfp4": "3" * 64},
        evidence={},
    )
    (tree / "release.json").write_text(record.dump(made))
    length = Measurement(name="acceptance_length", value=2.93, unit="tokens/draft", n=54, how="")
    folder = tree / "evidence" / "smoke-nvfp4"
    folder.mkdir(parents=True)
    (folder / "evidence.json").write_text(evidence.dump(Evidence(measurements=(length,))))
    return tree


@pytest.mark.env
def test_kl_runs_both_models_of_two_folders(tmp_path: Path, quantize_python: Path) -> None:
    tiny = PROJECT / "recipes" / "tiny"
    other = tmp_path / "other"
    shutil.copytree(tiny / "base", other)
    template = tiny.parent / "templates" / "chat_template.jinja"
    shutil.copyfile(template, other / template.name)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join((tiny / "fidelity.jsonl").read_text().splitlines(keepends=True)[:2]))
    found = compare(Asked(first=str(tiny / "master"), second=str(other), texts=str(texts)))
    assert found.divergence is not None
    mean = found.divergence.figure("kl_mean")
    assert mean is not None and mean.value > 0.001 and mean.n > 50
