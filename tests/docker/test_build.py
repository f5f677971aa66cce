"""``build-image``: the same bytes again, checks before an image counts, words for what goes wrong."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from release.engines import daemon
from release.errors import BuildError, MachineError, NetworkError
from release.imaging import build as building
from release.imaging import buildx
from release.imaging.build import build_image, rebuild_image
from release.store import Store
from release.store import built as builts
from tests.docker import images
from tests.docker.conftest import Workshop

HEAVY = "GRAFTSMITH_TEST_HEAVY_IMAGES"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
heavy = pytest.mark.skipif(not os.environ.get(HEAVY), reason=f"minutes of building; {HEAVY}=1 runs it")


def quiet(_: str) -> None:
    """Hear nothing."""


def test_what_was_built_is_a_hit_and_starts_no_builder(
    workshop: Workshop, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildx, "require", lambda: pytest.fail("a builder was asked for"))
    wanted = images.build_of(workshop.folder, workshop.store, base)
    assert build_image(wanted, workshop.store, quiet).image == workshop.built
    assert not build_image(wanted, workshop.store, quiet).built


def test_a_build_without_cache_from_another_path_and_umask_gives_the_same_bytes(
    workshop: Workshop, base: str, tmp_path: Path
) -> None:
    old = os.umask(0o077)
    try:
        elsewhere = images.slim(tmp_path / "another clone")
        for path in elsewhere.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
            os.utime(path, (1, 1))
        outcome = rebuild_image(images.build_of(elsewhere, workshop.store, base), workshop.store, quiet)
    finally:
        os.umask(old)
    assert outcome.image == workshop.built  # the other clone is the same image, and building it again agreed


@heavy
def test_what_is_not_reproducible_is_named(base: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = images.bare(tmp_path / "images", "date +%s%N > /opt/env/when")
    with pytest.raises(BuildError, match=r"not reproducible(.|\n)*opt/env/when: .* → "):
        rebuild_image(images.build_of(folder, store, base), store, quiet)


def test_an_image_has_its_fixed_time_its_bill_and_its_checks(workshop: Workshop) -> None:
    found = daemon.connect().client.api.inspect_image(workshop.built.digest)  # type: ignore[no-untyped-call]
    assert found["Created"].startswith("2025-06-15T15:06:40")
    assert found["Config"]["Labels"]["io.graftsmith.inputs"] == workshop.built.inputs
    assert found["RootFS"]["Layers"] == list(workshop.built.diff_ids)
    bill = json.loads((workshop.store.root / "images" / f"{workshop.built.inputs}.cdx.json").read_text())
    assert {row["name"] for row in bill["components"]} == set(images.SLIM)
    assert workshop.built.checks["packages"] == "4 as locked"
    assert workshop.built.checks["user"] == "1000"


def test_an_image_that_fails_its_checks_does_not_count(base: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = images.bare(tmp_path / "images", "python3 -m venv /opt/env && touch /opt/id_rsa")
    dockerfile = folder / "cpu.Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("USER 1000:1000", "USER 0"))
    wanted = images.build_of(folder, store, base)
    with pytest.raises(BuildError) as caught:
        build_image(wanted, store, quiet)
    for said in ("its user is root", "a secret: /opt/id_rsa", "is installed, and no lock names it"):
        assert said in str(caught.value)
    assert builts.folder(store.root).get(wanted.inputs) is None


def test_a_wheel_that_is_not_what_the_lock_says_is_refused(
    workshop: Workshop, base: str, tmp_path: Path
) -> None:
    folder = images.slim(tmp_path / "images")
    lock = folder / "quantize" / "cpu" / "requirements.lock"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock.read_text()))
    with pytest.raises(BuildError, match="not what the lock says"):
        build_image(images.build_of(folder, workshop.store, base), workshop.store, quiet)


def test_a_registry_that_is_down_and_a_digest_that_is_gone_are_told_apart(
    local_registry: str, tmp_path: Path
) -> None:
    store, folder = Store(tmp_path / "store"), images.bare(tmp_path / "images")
    for host, kind, said in (
        ("127.0.0.1:1", NetworkError, "does not answer"),
        (local_registry, BuildError, "invoke lock --images"),
    ):
        wanted = images.build_of(folder, store, f"docker-image://{host}/base@sha256:{'1' * 64}")
        with pytest.raises(kind, match=said):
            build_image(wanted, store, quiet)


def test_a_pushed_image_keeps_its_digest(workshop: Workshop, local_registry: str) -> None:
    name = building.push(workshop.built, local_registry)
    assert name == f"{local_registry}/graftsmith/quantize@{workshop.built.digest}"


def test_pushing_to_a_registry_that_is_down_is_said(workshop: Workshop) -> None:
    with pytest.raises(NetworkError, match="pushing graftsmith/quantize"):
        building.push(workshop.built, "127.0.0.1:1")


@heavy
def test_an_image_that_the_engine_lost_is_built_again(base: str, tmp_path: Path) -> None:
    store, folder = Store(tmp_path / "store"), images.bare(tmp_path / "images", "echo lost > /opt/env/lost")
    wanted = images.build_of(folder, store, base)
    first = build_image(wanted, store, quiet).image
    client = daemon.connect().client
    client.images.remove(first.tag, force=True)
    with pytest.raises(ImageNotFound):
        client.images.get(first.digest)
    again = build_image(wanted, store, quiet)
    assert again.built and again.image.digest == first.digest


def test_a_build_needs_buildx(
    engine: object, workshop: Workshop, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = images.build_of(images.bare(tmp_path / "images", "false"), workshop.store, base)
    with pytest.raises(MachineError, match="apt-get install docker-buildx-plugin"):
        build_image(wanted, workshop.store, quiet)


def test_an_engine_that_ignores_the_fixed_date_needs_a_builder_that_can_be_had(
    engine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildx, "OWN_BUILDER", "graftsmith-test")
    monkeypatch.setattr(buildx, "BUILDKIT", f"127.0.0.1:1/moby/buildkit:v0@sha256:{'1' * 64}")
    older = replace(daemon.connect(), containerd_store=False)
    for _ in range(2):  # what a failed try made is no builder the next time
        with pytest.raises(MachineError, match=r"(?s)no builder for reproducible images.*let Docker pull"):
            buildx.builder(older, quiet)


def test_an_image_for_another_platform_is_refused_before_a_step_runs(workshop: Workshop) -> None:
    image = images.image_of(workshop.folder, workshop.store)
    held = replace(image.required_container(), platforms={"linux/riscv64": "riscv64"})
    with pytest.raises(MachineError, match=r"is for linux/riscv64; this machine is linux/"):
        replace(image, container=held).in_container()
