"""By Xet, as the client does it where the Hub has it: real hf_xet, and a store of chunks in a folder.

That store admits one client process at a time, so faults and races are shown on the LFS path.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from release.hub.transaction import Release
from tests.hub_server.running import PROJECT, TOKEN, RunningHub, running
from tests.hub_server.xet import XetStore
from tests.unit.hub.remote import Pair


@pytest.fixture(scope="module")
def speaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """Start a Hub that has Xet."""
    with running(tmp_path_factory.mktemp("xet"), "--xet") as hub:
        yield hub


@pytest.fixture
def two(speaks: RunningHub, request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Return two repos named after the test."""
    return Pair(speaks, request.node.name.replace("_", "-")[-50:].strip("-"), tmp_path).create()


def _environment(pair: Pair) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": pair.server.url, "HF_HOME": str(pair.root / "home"), "HF_TOKEN": TOKEN}


def _publish(pair: Pair, wanted: Release, *options: str) -> dict[str, Any]:
    trees = [f"{repo.repo}={repo.root}" for repo in wanted.repos]
    command = [sys.executable, "-m", "tests.unit.hub.xet_publisher", pair.server.url]
    done = subprocess.run(
        [*command, str(pair.root / "journals"), wanted.version, *trees, *options],
        env=_environment(pair),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _lfs_puts(pair: Pair) -> list[object]:
    return [asked["path"] for asked in pair.server.asked() if asked["method"] == "PUT"]


def test_blobs_go_as_chunks_and_readers_get_the_same_bytes(two: Pair) -> None:
    wanted = two.release()
    assert _publish(two, wanted) == {"state": "published", "sent": [None, None]}
    assert _lfs_puts(two) == []
    for repo in wanted.repos:
        got = two.root / "got" / repo.repo
        subprocess.run(
            [
                *(str(Path(sys.executable).with_name("hf")), "download", repo.repo),
                *("--revision", "v1.0.0", "--local-dir", str(got)),
            ],
            env=_environment(two),
            check=True,
            capture_output=True,
        )
        for path in repo.tree.files:
            assert (got / path).read_bytes() == (repo.root / path).read_bytes(), path


def test_the_next_version_with_the_same_blobs_stores_no_chunk_more(two: Pair) -> None:
    store = XetStore(two.server.root / "xet")
    _publish(two, two.release())
    before = store.chunk_bytes()
    assert before > 0
    wanted = two.release(version="1.1.0", figure=2.7)
    assert _publish(two, wanted)["state"] == "published"
    assert store.chunk_bytes() == before
    assert two.tags(two.names[1]) == ["v1.0.0", "v1.1.0"]


def test_a_file_that_rots_while_it_is_sent_is_not_published(two: Pair) -> None:
    said = _publish(two, two.release(), "--rots")
    assert "model.safetensors is not what was meant" in said.get("error", str(said))
    for name in two.names:
        assert two.tags(name) == []
        assert two.server.git(name, "rev-list", "--count", "main").strip() == "1"
