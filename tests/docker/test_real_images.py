"""The images as users build them, on the stand-in base: their bytes are those of last time.

``digests.json`` holds what the last build gave, and on which base and builder. Debian's
packages move, so the stand-in for the base does; then there is nothing to compare with, and
the test says so. ``GRAFTSMITH_TEST_RECORD_DIGESTS=1`` writes the file anew.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from release.engines import daemon
from release.images import IMAGES, load, this_platform
from release.imaging.build import build_image, rebuild_image
from release.imaging.recipe import Build
from release.store import Store, default_root
from release.store.built import BuiltImage
from tests.docker import images

RECORDED = Path(__file__).with_name("digests.json")
RECORD = "GRAFTSMITH_TEST_RECORD_DIGESTS"
HEAVY = "GRAFTSMITH_TEST_HEAVY_IMAGES"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,  # 7 GB of wheels an image, built twice
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not os.environ.get(HEAVY), reason=f"30 minutes and 40 GB; {HEAVY}=1 runs it"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a build gave, and what it depends on."""

    inputs: str
    base: str
    builder: str
    digest: str
    diff_ids: list[str]


@pytest.fixture(scope="module", params=IMAGES)
def build(request: pytest.FixtureRequest, base: str) -> Build:
    store = Store(default_root())
    image = load(images.PROJECT / "images", request.param, "cpu", store.stat_cache)
    return Build(image=image, platform=this_platform(), base=base)


def test_an_image_is_the_same_again_and_the_one_of_last_time(build: Build) -> None:
    store = Store(default_root())
    built = build_image(build, store, print).image
    compare(build.name, found(built))
    assert rebuild_image(build, store, print).image.digest == built.digest
    if build.image.name == "serve":
        assert "0.32.0" in said_by(built, ["vllm", "--version"])


def compare(name: str, new: Digest) -> None:
    """Hold a build against the last one, or say why that cannot be done."""
    recorded = json.loads(RECORDED.read_text())
    if os.environ.get(RECORD):
        RECORDED.write_text(json.dumps({**recorded, name: asdict(new)}, indent=1, sort_keys=True) + "\n")
        return
    if name not in recorded:
        pytest.skip(f"{name} was never recorded; {RECORD}=1 does")
    old = Digest(**recorded[name])
    for what, before, after in (("base", old.base, new.base), ("files", old.inputs, new.inputs)):
        if before != after:
            pytest.skip(f"{name}: its {what} moved: {before} → {after}; {RECORD}=1 records it anew")
    assert new.diff_ids == old.diff_ids
    if new.builder == old.builder:  # another engine's version may pack layers otherwise
        assert new.digest == old.digest


def found(image: BuiltImage) -> Digest:
    """Return what is recorded of a build."""
    return Digest(
        inputs=image.inputs,
        base=image.base,
        builder=image.builder,
        digest=image.digest,
        diff_ids=list(image.diff_ids),
    )


def said_by(image: BuiltImage, command: list[str]) -> str:
    """Run a command in an image as its own user, under a read-only root, without network."""
    client = daemon.connect().client
    return client.containers.run(
        image.tag,
        command,
        read_only=True,
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": ""},  # noqa: S108 (the container's own)
        environment={"HOME": "/tmp", "XDG_CACHE_HOME": "/tmp"},  # noqa: S108
        remove=True,
    ).decode()
