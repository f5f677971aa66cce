"""Records of container images: what is needed stays, what was superseded goes with what it compiled."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from release.store import Store, built, gc
from release.store.built import BuiltImage
from release.store.gc import Kind
from tests.unit.store.results import result

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def record(store: Store, inputs: str, when: int, variant: str = "cpu") -> BuiltImage:
    """Record an image with its bill, its log and what its containers compiled."""
    image = BuiltImage(
        inputs=inputs,
        name="serve",
        variant=variant,
        platform="linux/amd64",
        tag=f"graftsmith/serve:{variant}-{inputs[:12]}",
        digest=f"sha256:{inputs}",
        config=f"sha256:{inputs}",
        diff_ids=(),
        size=1,
        base="locked",
        builder="test",
        seconds=1.0,
    )
    images = built.folder(store.root)
    images.put(image)
    os.utime(images.path(inputs), (when, when))
    for name in ("cdx.json", "log.txt"):
        (images.folder / f"{inputs}.{name}").write_text("{}")
    compiled = store.root / "cache" / "containers" / f"{image.cache_name}-1-gpu"
    compiled.mkdir(parents=True)
    (compiled / "kernel.cubin").write_text("x")
    return image


def left(store: Store) -> set[str]:
    """Return what is left of images, by the first letter of their inputs."""
    kept = [*(store.root / "images").iterdir(), *(store.root / "cache" / "containers").iterdir()]
    return {path.name[0] for path in kept}


def test_the_last_image_of_a_variant_stays_and_an_older_one_goes(store: Store) -> None:
    old, _ = record(store, OLD, 1), record(store, NEW, 2)
    other = record(store, "c" * 64, 0, variant="gb10")
    found = gc.collect(store, keep=None, dry_run=False)
    assert left(store) == {NEW[0], other.inputs[0]}
    said = [item.what for item in found.garbage if item.kind is Kind.IMAGE]
    assert f"{old.tag} (docker image rm {old.tag})" in said  # the engine's copy is not ours to remove


def test_an_image_stays_while_a_kept_figure_was_measured_in_it(store: Store) -> None:
    old, _ = record(store, OLD, 1), record(store, NEW, 2)
    stand_in = replace(old, base=f"stand-in sha256:{'d' * 64}")
    result(store, "smoke", measures=True, machine={"container": stand_in.identity}, x="1")
    gc.collect(store, keep=None, dry_run=False)
    assert left(store) == {OLD[0], NEW[0]}


def test_nothing_of_an_image_goes_while_it_is_built_or_a_release_runs(store: Store) -> None:
    record(store, OLD, 1), record(store, NEW, 2)
    work = store.root / "images" / f".building-{OLD}-x"
    work.mkdir()
    with store.lock(f"image-{OLD}"):
        gc.collect(store, keep=None, dry_run=False)
        assert work.exists() and built.folder(store.root).get(OLD)
    with store.running():
        store.pins.add("f" * 64)
        gc.collect(store, keep=None, dry_run=False)
        assert built.folder(store.root).get(OLD)
    gc.collect(store, keep=None, dry_run=False)
    assert not work.exists() and built.folder(store.root).get(OLD) is None


def test_the_cache_of_wheels_is_told_and_left_to_its_own_tool(store: Store) -> None:
    folder = store.root / "cache" / "uv"
    folder.mkdir(parents=True)
    (folder / "wheel").write_bytes(b"x" * 5000)
    assert gc.wheels(store) == (folder, 8192)
    gc.collect(store, keep=0, dry_run=False)
    assert (folder / "wheel").exists()
