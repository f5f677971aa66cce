"""One local Hub for a module's tests, and two repos of its own for each test."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server.running import TOKEN, RunningHub, running
from tests.unit.hub.remote import PART_SIZE, Pair

# Publishers are forked here. A thread of the progress bars may hold their lock then, and the child would
# wait for it for ever: without an interval there is no such thread.
importlib.import_module("tqdm").tqdm.monitor_interval = 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """Start a Hub that takes large blobs in small parts."""
    with running(tmp_path_factory.mktemp("hub"), "--part-size", PART_SIZE) as hub:
        yield hub


@pytest.fixture
def pair(
    server: RunningHub, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pair]:
    """Return two repos named after the test, which may be written to with the token of HF_TOKEN."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[-50:].strip("-")
    yield Pair(server, name, tmp_path).create()
    server.faults()
