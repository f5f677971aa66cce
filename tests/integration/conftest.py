"""The released house: one real tiny release that several tests look at."""

from pathlib import Path

import pytest

from tests.integration.house import House
from tests.integration.small import release as small


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, quantize_python: Path, serve_python: Path) -> House:
    house = House(tmp_path_factory.mktemp("house"))
    done = house.release()
    (house.store / "release.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return house


@pytest.fixture(scope="session")
def small_release(tmp_path_factory: pytest.TempPathFactory, quantize_python: Path) -> small.Finished:
    """Return a finished release without a model server, to copy and to compare with."""
    root = tmp_path_factory.mktemp("small")
    small.prepare(root)
    done = small.run(root)
    assert done.returncode == 0, done.stderr
    return small.Finished(root=root, report=small.parse(done.stdout))
