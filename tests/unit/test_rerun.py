"""A second run is held against the first: bytes where promised, figures within a tolerance."""

import json
from pathlib import Path

import pytest

from recipes.formats import calibration, evidence, safetensors
from recipes.formats.calibration import Calibration, Range
from recipes.formats.evidence import Evidence, Measurement
from recipes.formats.safetensors import Entry
from recipes.formats.step import Workdir
from release import rerun
from release.digest import File, Tree, sha256_file
from release.hoststep import Input
from release.rerun import Compared


def tree(folder: Path) -> Input:
    files = {
        path.relative_to(folder).as_posix(): File(sha256_file(path), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }
    return Input(folder, Tree(files))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "stored"
    folder.mkdir()
    entries = [
        Entry("a.weight", "BF16", (4,), [bytes(8)]),
        Entry("b.weight", "F32", (2, 2), [bytes(16)]),
    ]
    safetensors.write(folder / "model.safetensors", entries)
    (folder / "config.json").write_text('{\n "a": 1,\n "b": 2\n}\n')
    return folder


def again(tmp_path: Path, stored: Path) -> Workdir:
    work = Workdir(tmp_path / "again")
    for path in stored.iterdir():
        work.new(path.name).write_bytes(path.read_bytes())
    return work


def compare(stored: Path, work: Workdir, **inputs: Input) -> dict[str, Compared]:
    work.finish()
    return {one.what: one for one in rerun.compare_bytes(tree(stored), work.root / "out", inputs)}


def test_equal_bytes_hold(tmp_path: Path, stored: Path) -> None:
    assert all(one.holds for one in compare(stored, again(tmp_path, stored)).values())


def test_the_first_difference_in_a_shard_is_the_tensor_and_its_item(tmp_path: Path, stored: Path) -> None:
    work = again(tmp_path, stored)
    file = work.root / "out" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-6] ^= 1  # the third item of the last tensor, second byte
    file.write_bytes(data)
    found = compare(stored, work)["model.safetensors"]
    assert not found.holds
    offset = len(data) - 6
    assert found.found == f"first difference at byte {offset}, tensor b.weight (F32 [2, 2]), item 2"


def test_a_difference_in_the_header_is_told_as_such(tmp_path: Path, stored: Path) -> None:
    work = again(tmp_path, stored)
    file = work.root / "out" / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"a.weight", b"c.weight"))
    assert "in the header" in compare(stored, work)["model.safetensors"].found


def test_the_first_difference_in_a_text_is_its_line(tmp_path: Path, stored: Path) -> None:
    work = again(tmp_path, stored)
    (work.root / "out" / "config.json").write_text('{\n "a": 1,\n "b": 3\n}\n')
    assert compare(stored, work)["config.json"].found == "first difference at byte 17, line 3"


def test_a_file_more_or_less_does_not_hold(tmp_path: Path, stored: Path) -> None:
    work = Workdir(tmp_path / "again")
    work.new("config.json").write_bytes((stored / "config.json").read_bytes())
    work.new("extra.json").write_text("{}")
    found = compare(stored, work)
    assert found["extra.json"] == Compared(what="extra.json", holds=False, found="not in the result")
    assert found["model.safetensors"].found == "not written again"


def test_a_taken_file_is_known_by_its_digest(tmp_path: Path, stored: Path) -> None:
    work = Workdir(tmp_path / "again")
    (work.root / "out").mkdir(parents=True)
    body = tree(stored)
    for path in body.tree.files:
        work.take("body", path)
    (stored / "model.safetensors").unlink()
    (stored / "model.safetensors").write_text("not read")
    work.finish()
    stored_before = Input(stored, body.tree)
    found = list(rerun.compare_bytes(stored_before, work.root / "out", {"body": body}))
    assert all(one.holds for one in found)
    other = Input(stored, Tree({**body.tree.files, "config.json": File("0" * 64, 1)}))
    (bad,) = [
        one for one in rerun.compare_bytes(stored_before, work.root / "out", {"body": other}) if not one.holds
    ]
    assert bad.found == "now taken from body/config.json"


def test_a_file_cut_short_differs_where_it_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    (tmp_path / "b").write_bytes(bytes((3 << 20) - 5))
    assert rerun.first_difference(tmp_path / "a", tmp_path / "b") == (3 << 20) - 5
    assert rerun.first_difference(tmp_path / "a", tmp_path / "a") is None


def figures(folder: Path, speed: float, amax: float) -> Path:
    folder.mkdir()
    measured = Measurement(name="speed", value=speed, unit="tokens/s", n=1, how="")
    (folder / evidence.EVIDENCE_FILE).write_text(evidence.dump(Evidence(measurements=(measured,))))
    groups = (Range(members=("layers.0.q", "layers.0.k"), input_amax=amax, input_scale=0.5),)
    made = Calibration(ranges=groups, rows=1, tokens=1, max_seq_len=1, versions={})
    (folder / calibration.CALIBRATION_FILE).write_text(calibration.dump(made))
    (folder / "replies.jsonl").write_text(json.dumps({"speed": speed}))
    return folder


def test_figures_hold_within_the_tolerance_and_are_told_with_their_distance(tmp_path: Path) -> None:
    old, new = figures(tmp_path / "old", 100, 4.0), figures(tmp_path / "new", 104, 5.0)
    found = list(rerun.compare_figures(old, new, 0.05))
    assert found == [
        Compared(what="speed", holds=True, found="100 → 104 (4.00% apart)"),
        Compared(what="input_amax of layers.0.q", holds=False, found="4 → 5 (25.00% apart)"),
    ]
    assert all(one.holds for one in rerun.compare_figures(old, new, 0.25))


def test_a_figure_that_is_not_measured_again_does_not_hold(tmp_path: Path) -> None:
    old, new = figures(tmp_path / "old", 100, 4.0), figures(tmp_path / "new", 100, 4.0)
    (new / evidence.EVIDENCE_FILE).write_text(evidence.dump(Evidence()))
    assert [one.found for one in rerun.compare_figures(old, new, 0.05) if not one.holds] == [
        "not measured again"
    ]
