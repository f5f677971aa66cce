"""The engine, its base, an image and a registry, each made once and skipped with a reason."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from release.engines import daemon as daemons
from release.errors import GraftsmithError
from release.imaging.build import build_image
from release.store import Store, default_root
from release.store.built import LOCKED, BuiltImage
from tests.docker import base as bases
from tests.docker import engine as engines
from tests.docker import images, registry
from tests.docker.engine import Engine, NoEngineError


@dataclass(frozen=True, slots=True)
class Workshop:
    """A store, and in it the image ``quantize`` with little to install, built for real."""

    store: Store
    folder: Path
    built: BuiltImage


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Give an engine that answers, and point this process at it."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(engines.running())
        except NoEngineError as error:
            pytest.skip(str(error))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in found.environment.items():
                patch.setenv(name, value)
            yield found


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """Return the locked base where its registry answers, else the stand-in for it."""
    wanted = images.image_of(images.PROJECT / "images", Store(default_root())).required_container().base
    if not engine.own and _served(wanted):
        return LOCKED
    if os.getuid() != 0:
        pytest.skip("the locked base's registry does not answer, and a stand-in needs root")
    try:
        return f"oci-layout://{bases.layout(engine.root)}"
    except OSError as error:
        pytest.skip(f"no base: its registry does not answer, and {error}")


@pytest.fixture(scope="session")
def workshop(base: str, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Return a store with a small image of the project's own Dockerfile."""
    root = tmp_path_factory.mktemp("workshop")
    store, folder = Store(root / "store"), images.slim(root / "images")
    outcome = build_image(images.build_of(folder, store, base), store, lambda _: None)
    return Workshop(store, folder, outcome.image)


@pytest.fixture(scope="session")
def local_registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give ``host:port`` of a registry on loopback."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(
                registry.running(engine.root / "registry", tmp_path_factory.mktemp("registry"))
            )
        except OSError as error:
            pytest.skip(f"no registry: {error}")


def _served(reference: str) -> bool:
    try:
        with daemons.in_words("asking for the base"):
            daemons.connect().client.images.get_registry_data(reference.partition("@")[0])
    except GraftsmithError:
        return False
    return True
