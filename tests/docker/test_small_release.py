"""A small release in containers: the same digests as on the local engine, and served by it."""

from dataclasses import replace
from pathlib import Path

import pytest

from release import line as lines
from release.images import Image
from release.line import DOCKER, LOCAL, Line
from release.plan import Graph
from release.realize import Done
from release.store import Store, default_root
from tests.docker import images
from tests.docker.conftest import Workshop
from tests.integration.small import release as small

PROMISED = ("quantize", "graft-nvfp4", "graft-master", "configure-nvfp4", "configure-master", "prove")

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]  # real steps, twice


@pytest.fixture(scope="module")
def released(
    workshop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Done], dict[str, Done]]:
    """Release the small line in containers and on the local engine; return what each gave."""
    found = []
    for engine in (DOCKER, LOCAL):
        root = tmp_path_factory.mktemp(engine)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAFTSMITH_STORE", str(root / "store"))
            make(root, workshop)
            found.append(run(root, workshop, engine))
    return found[0], found[1]


def test_bytes_are_the_same_on_both_engines(released: tuple[dict[str, Done], dict[str, Done]]) -> None:
    docker, local = released
    assert {name: docker[name].tree for name in PROMISED} == {name: local[name].tree for name in PROMISED}
    assert all(docker[name].built for name in PROMISED)


def test_keys_are_the_same_so_one_engines_result_serves_the_other(
    released: tuple[dict[str, Done], dict[str, Done]],
) -> None:
    docker, local = released
    assert {name: docker[name].key for name in PROMISED} == {name: local[name].key for name in PROMISED}


def test_the_isolation_that_was_had_is_recorded(released: tuple[dict[str, Done], dict[str, Done]]) -> None:
    docker, _ = released
    assert docker["quantize"].isolation["filesystem"] == "read-only root"
    assert docker["quantize"].isolation["system calls"] == "seccomp"


def make(root: Path, workshop: Workshop) -> None:
    """Make the folders of a release, with the workshop's record of its image."""
    for folder in ("cache", "images"):
        (root / "store" / folder).mkdir(parents=True, exist_ok=True)
    (root / "store" / "cache" / "uv").symlink_to(default_cache())
    for name, files in small.MADE.items():
        (root / "made" / name).mkdir(parents=True)
        for file in files:
            (root / "made" / name / file).write_text(f"{name} {file}\n")
    calibration = root / "made" / "calibrate" / small.CALIBRATION.name
    calibration.write_bytes(small.CALIBRATION.read_bytes())
    record = f"{workshop.built.inputs}.json"
    (root / "store" / "images" / record).write_bytes((workshop.store.root / "images" / record).read_bytes())


def default_cache() -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRAFTSMITH_STORE", raising=False)
        folder = default_root() / "cache" / "uv"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(root: Path, workshop: Workshop, engine: str) -> dict[str, Done]:
    """Run the small release with the workshop's image."""
    line, steps = small.open_small(root, "1.0.0")
    image = images.image_of(workshop.folder, Store(root / "store"))
    return realize(line, steps, image.in_container() if engine == DOCKER else image, engine)


def realize(line: Line, steps: Graph, image: Image, engine: str) -> dict[str, Done]:
    line = replace(line, engine=engine, described={**line.described, "quantize": image})
    return lines.realize_line(line, steps.only(PROMISED), small.Ear())
