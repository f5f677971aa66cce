"""Each byte is hashed once in a whole release, and none in a release that finds it done."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from release.hub.folder import SMALL
from release.store import Store
from tests.integration.house import House
from tests.integration.small import release as small

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("rich", "jinja2", "docker", "huggingface_hub", "semver", "release.line")
WATCHED = f"""
import json, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from invoke.main import program
try:
    program.run(["invoke", "release", "--version", "0.1.0", "--hub", sys.argv[1]])
finally:
    print(json.dumps({{"imported": [name for name in {HEAVY} if name in sys.modules], "opened": opened}}))
"""

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # real steps in the image environments
    pytest.mark.timeout(900),
]


def test_each_byte_is_hashed_once(tmp_path: Path, quantize_python: Path) -> None:
    small.prepare(tmp_path)
    done = small.run(tmp_path, GRAFTSMITH_TRACE=str(tmp_path / "trace"))
    assert done.returncode == 0, done.stderr
    outside = json.loads((tmp_path / "store" / "cache" / "stat.json").read_text())
    looked_at = sum(size for size, *_ in outside.values())
    new = sum(adopted(tmp_path))
    assert new > 0
    # The Hub reads small files once more before readers see them: what rotted is not published.
    published = sum(size for size in hub_files(tmp_path) if size < SMALL)
    assert small.parse(done.stdout).hashed == looked_at + new + published


def test_a_release_that_finds_it_done_hashes_nothing(small_release: small.Finished) -> None:
    again = small.run(small_release.root)
    assert again.returncode == 0, again.stderr
    report = small.parse(again.stdout)
    assert (report.hashed, report.built, report.state) == (0, (), "already")


def test_a_finished_release_imports_and_opens_next_to_nothing(released: House) -> None:
    assert released.release().returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(released.hub)],
        cwd=PROJECT,
        env=released.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nothing changed" in done.stdout, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert not seen["imported"]
    weights = [path for path in seen["opened"] if path.endswith(".safetensors") or "/objects/" in path]
    assert seen["opened"] and not weights


def adopted(root: Path) -> list[int]:
    """Return the sizes of the files that steps wrote and the store took over: each is flushed once."""
    store = Store(root / "store")
    sizes = []
    for line in (root / "trace").read_text().splitlines():
        if found := re.fullmatch(r"\d+ after fsync .*/scratch/([0-9a-f]{64})/out/(.*)", line):
            realization = store.realizations.get(found[1])
            tree = store.tree(realization.tree) if realization else None
            assert tree is not None
            sizes.append(tree.files[found[2]].size)
    return sizes


def hub_files(root: Path) -> list[int]:
    """Return the sizes of what readers of the Hub see."""
    return [path.stat().st_size for path in (root / "hub").glob("*/*/v*/**/*") if path.is_file()]
