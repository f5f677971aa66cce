"""The released house: one real tiny release that several tests look at."""

from pathlib import Path

import pytest

from tests.integration.house import House


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory, quantize_python: Path, serve_python: Path) -> House:
    house = House(tmp_path_factory.mktemp("house"))
    done = house.release()
    (house.store / "release.log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return house
