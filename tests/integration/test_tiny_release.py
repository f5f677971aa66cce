"""The whole tiny release, through ``invoke``, with real modelopt, vLLM and folder Hub.

Heavy, because it is the product: two model servers start. Everything that can be looked
at afterwards is looked at in this one run.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.house import House

NVFP4 = "graftsmith/tiny-cascade-NVFP4-MTP/v0.1.0"
MASTER = "graftsmith/tiny-cascade/v0.1.0"

pytestmark = [pytest.mark.env, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_both_repos_stand_and_check_with_coreutils(released: House) -> None:
    for repo in (MASTER, NVFP4):
        folder = released.hub / repo
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
        for name in ("README.md", "LICENSE", "NOTICE", "release.json", "config.json", "chat_template.jinja"):
            assert (folder / name).is_file(), f"{repo} lacks {name}"


def test_the_output_shows_steps_proofs_gates_and_places(released: House) -> None:
    text = (released.store / "release.log").read_text()
    for piece in (
        "calibrate",
        "smoke-nvfp4",
        "mtp-verbatim-nvfp4",
        "acceptance-length",
        NVFP4.split("/v")[0],
    ):
        assert piece in text


def test_each_step_ran_isolated(released: House) -> None:
    for path in (released.store / "realizations").glob("*.json"):
        realization = json.loads(path.read_text())
        if realization["engine"] == "local" and os.environ.get("GRAFTSMITH_REQUIRE_ISOLATION"):
            assert realization["isolation"]["network"] == "loopback only"
            assert realization["isolation"]["filesystem"].startswith("landlock")


def test_a_second_run_changes_nothing(released: House) -> None:
    before = released.files()
    began = time.monotonic()
    done = released.release()
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert "nothing changed" in done.stdout
    assert released.files() == before
    assert took < 5, f"a no-op took {took:.1f} s"  # an alarm, not a measurement: benchmarks/ measures


def test_the_trees_load_as_transformers_loads_them(released: House, quantize_python: Path) -> None:
    code = (
        "import sys; from transformers import AutoConfig, AutoTokenizer, AutoModelForImageTextToText\n"
        "for folder in sys.argv[1:]:\n"
        "    config = AutoConfig.from_pretrained(folder)\n"
        "    assert config.architectures == ['Qwen3_5ForConditionalGeneration'], config\n"
        "    assert AutoTokenizer.from_pretrained(folder).chat_template\n"
        "model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])\n"
        "print(sum(p.numel() for p in model.parameters()))"
    )
    subprocess.run(
        [str(quantize_python), "-c", code, str(released.hub / MASTER), str(released.hub / NVFP4)],
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
    )


def test_two_roots_give_the_same_promised_bytes(released: House, tmp_path: Path) -> None:
    other = House(tmp_path)
    done = other.invoke("build")
    assert done.returncode == 0, done.stderr
    for kind, repo in (("master", MASTER), ("nvfp4", NVFP4)):
        record = json.loads((released.hub / repo / "release.json").read_text())
        assert (other.store / "trees" / f"{record['promised'][kind]}.json").is_file()


def test_the_same_version_with_other_content_is_a_conflict(released: House, tmp_path: Path) -> None:
    before = released.files()
    record = released.hub / MASTER / "release.json"
    kept = record.read_bytes()
    text = json.loads(kept)
    text["lock"] = "0" * 64
    record.chmod(0o644)
    record.unlink()
    record.write_text(json.dumps(text))
    try:
        done = released.release()
        assert done.returncode == 8, done.stdout + done.stderr
        assert "already published with other content" in done.stderr
    finally:
        record.unlink()
        record.write_bytes(kept)
    assert set(released.files()) == set(before)
