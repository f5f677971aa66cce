"""Assemble: which files a release holds, and that anybody can check them."""

import json
import subprocess
from pathlib import Path

import pytest

from release import record
from release.assemble import ASSEMBLE
from release.digest import Json
from release.errors import ConfigError, UsageError
from release.hoststep import Input, Result
from tests.unit.card.inputs import DIGEST, shown, write

PARAMS: dict[str, Json] = {
    "kind": "nvfp4",
    "version": "1.0.0",
    "recipe": "tiny",
    "repo": "graftsmith/tiny-NVFP4-MTP",
    "sibling_repo": "graftsmith/tiny",
    "lock": DIGEST,
}
FILES = {
    "tree": ("config.json", "model.safetensors", "merges.txt", "chat_template.jinja"),
    "sibling": ("config.json",),
    "card": ("README.md", "LICENSE", "NOTICE"),
    "prove": ("evidence.json", "ledger.json", "ledger.svg"),
    "gate": ("verdicts.json",),
    "sbom": ("sbom.cdx.json",),
    "report": ("report.html", "acceptance-positions.svg", "acceptance-domains.svg", "throughput.svg"),
    "smoke-nvfp4": ("evidence.json", "memory.jsonl", "replies.jsonl"),
    "smoke-master": ("evidence.json", "memory.jsonl", "replies.jsonl"),
    "fidelity": ("evidence.json", "rows.jsonl", "worst.jsonl"),
    "calibrate": ("calibration.json", "evidence.json"),
}


def _inputs(root: Path) -> dict[str, Input]:
    for name, paths in FILES.items():
        for path in paths:
            write(root / name / path, f"{name}/{path}\n")
    return {name: shown(root / name) for name in FILES}


def _assemble(root: Path, **changes: Json) -> Result:
    return ASSEMBLE.function(_inputs(root), {**PARAMS, **changes})


def _build(root: Path, result: Result) -> Path:
    """Build the tree as the executor would."""
    out = root / "out"
    for path, data in result.new.items():
        write(out / path, data.decode())
    for path, taken in result.taken.items():
        write(out / path, (root / taken.input / taken.path).read_text())
    return out


def test_coreutils_can_check_the_release(tmp_path: Path) -> None:
    out = _build(tmp_path, _assemble(tmp_path))
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=out, capture_output=True, check=True
    )
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert len(checked.stdout.splitlines()) == len(found) - 1


def test_evidence_stands_by_its_step(tmp_path: Path) -> None:
    taken = _assemble(tmp_path).taken
    assert taken["evidence/gate/verdicts.json"].input == "gate"
    assert "evidence/calibrate/calibration.json" in taken and "evidence/prove/ledger.svg" in taken
    assert "evidence/smoke-master/replies.jsonl" in taken
    assert "evidence/fidelity/worst.jsonl" in taken


def test_a_line_without_texts_is_released_without_their_evidence(tmp_path: Path) -> None:
    inputs = {name: given for name, given in _inputs(tmp_path).items() if name != "fidelity"}
    result = ASSEMBLE.function(inputs, PARAMS)
    assert not [path for path in result.taken if "fidelity" in path]
    assert "fidelity" not in json.loads(result.new["release.json"])["evidence"]


def test_the_master_repo_holds_no_calibration(tmp_path: Path) -> None:
    assert not [path for path in _assemble(tmp_path, kind="master").taken if "calibrat" in path]


def test_weights_are_taken_and_never_read(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    (tmp_path / "tree/model.safetensors").unlink()
    assert ASSEMBLE.function(inputs, PARAMS).taken["model.safetensors"].input == "tree"


def test_the_record_says_what_the_release_is(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    found = record.parse(ASSEMBLE.function(inputs, PARAMS).new["release.json"].decode())
    assert (found.repo, found.sibling.repo) == ("graftsmith/tiny-NVFP4-MTP", "graftsmith/tiny")
    assert found.promised == {"nvfp4": inputs["tree"].tree.digest, "master": inputs["sibling"].tree.digest}
    assert found.sibling.tree == found.promised["master"]
    assert found.evidence["prove"] == inputs["prove"].tree.digest


def test_both_repos_promise_the_same(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    other = {**inputs, "tree": inputs["sibling"], "sibling": inputs["tree"]}
    swapped = {"kind": "master", "repo": PARAMS["sibling_repo"], "sibling_repo": PARAMS["repo"]}
    found = [
        record.parse(ASSEMBLE.function(given, {**PARAMS, **changes}).new["release.json"].decode())
        for given, changes in ((inputs, {}), (other, swapped))
    ]
    assert found[0].promises(found[1])


@pytest.mark.parametrize(
    "path", ["modeling.py", "weights.bin", "logo.svg", ".env", "a/.git.json", "run.sh", "x"]
)
def test_a_file_that_no_release_holds_is_refused(path: str, tmp_path: Path) -> None:
    write(tmp_path / "tree" / path, "x")
    with pytest.raises(ConfigError, match="no release holds such a file"):
        _assemble(tmp_path)


@pytest.mark.parametrize("path", ["release.json", "SHA256SUMS", "evidence/prove/evidence.json"])
def test_a_file_that_assemble_writes_is_refused(path: str, tmp_path: Path) -> None:
    write(tmp_path / "tree" / path, "x")
    with pytest.raises(ConfigError, match="this path is written when the tree is put together"):
        _assemble(tmp_path)


def test_a_file_from_two_inputs_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "tree/README.md", "x")
    with pytest.raises(ConfigError, match=r"README\.md: expected from one input, got tree and card"):
        _assemble(tmp_path)


def test_missing_evidence_is_named(tmp_path: Path) -> None:
    inputs = _inputs(tmp_path)
    (tmp_path / "gate/verdicts.json").unlink()
    inputs["gate"] = shown(tmp_path / "gate")
    with pytest.raises(ConfigError, match=r"gate/verdicts\.json"):
        ASSEMBLE.function(inputs, PARAMS)


def test_a_hostile_repo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        _assemble(tmp_path, repo="../x")
