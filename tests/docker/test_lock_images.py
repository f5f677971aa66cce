"""``invoke lock --images``: tags are resolved by a real registry, and a moved one is refused."""

import re
from pathlib import Path

import pytest

from release.engines import daemon
from release.errors import BuildError, LockError
from release.imaging.bases import lock_images, pinned
from tests.docker import images
from tests.docker.conftest import Workshop

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture
def tag(workshop: Workshop, local_registry: str) -> str:
    """Push an image under a tag of its own and return the tag."""
    return push(workshop.built.tag, f"{local_registry}/python:3.11")


def push(image: str, tag: str) -> str:
    client = daemon.connect().client
    repository, _, name = tag.rpartition(":")
    client.images.get(image).tag(repository, name)
    client.images.push(repository, name)
    return tag


def folder_with(root: Path, base: str) -> Path:
    folder = images.slim(root / "images")
    file = folder / "quantize" / "image.toml"
    text = re.sub(r'base = ".*"', f'base = "{base}"', file.read_text())
    file.write_text(text)
    return folder


def test_a_tag_is_pinned_and_stays_pinned_until_it_moves(
    tag: str, workshop: Workshop, tmp_path: Path
) -> None:
    folder, said = folder_with(tmp_path, tag), list[str]()
    lock_images(folder, daemon.connect(), said.append, update=False, diff=False)
    assert {base.digest for base in pinned(folder)} == {workshop.built.digest}
    said.clear()
    lock_images(folder, daemon.connect(), said.append, update=False, diff=False)
    assert said == ["the bases of all images are what their tags mean"]


def test_a_moved_tag_is_shown_and_refused_until_update(tag: str, workshop: Workshop, tmp_path: Path) -> None:
    old = f"sha256:{'1' * 64}"
    folder, said = folder_with(tmp_path, f"{tag}@{old}"), list[str]()
    with pytest.raises(LockError, match="invoke lock --images --update all"):
        lock_images(folder, daemon.connect(), said.append, update=False, diff=False)
    assert f"{tag}: {old} → {workshop.built.digest}" in said[0]
    lock_images(folder, daemon.connect(), said.append, update=False, diff=True)
    assert {base.digest for base in pinned(folder)} == {old}
    lock_images(folder, daemon.connect(), said.append, update=True, diff=False)
    assert {base.digest for base in pinned(folder)} == {workshop.built.digest}


def test_a_tag_that_no_registry_has_is_said(local_registry: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, f"{local_registry}/nobody:1")
    with pytest.raises(BuildError, match="gone from its registry"):
        lock_images(folder, daemon.connect(), lambda _: None, update=False, diff=False)
