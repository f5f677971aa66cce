"""Fixtures that several rooms' tests share."""

import os
from pathlib import Path

import pytest

for name in ("GRAFTSMITH_CACHE", "GRAFTSMITH_CACHE_KEY", "GRAFTSMITH_CACHE_TRUST"):
    os.environ.pop(name, None)  # tests build; what a developer's cache holds is not what they show

PROJECT = Path(__file__).resolve().parents[1]
HEAVY = "GRAFTSMITH_TEST_HEAVY"

# The local Hub speaks LFS; the client reads this once, when it is imported.
os.environ["HF_HUB_DISABLE_XET"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--renew-golden``: write golden files anew; read them in the diff."""
    parser.addoption("--renew-golden", action="store_true", help="write the golden files anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked heavy, unless it is asked for."""
    if os.environ.get(HEAVY):
        return
    for item in items:
        if item.get_closest_marker("heavy"):
            item.add_marker(pytest.mark.skip(reason=f"takes minutes of its own; {HEAVY}=1 runs it"))


def environment_python(image: str) -> Path:
    """Return the interpreter of an image's environment, built from its lock where it is missing."""
    named = os.environ.get(f"GRAFTSMITH_TEST_{image.upper()}_PYTHON")
    if named:
        return Path(named)
    from release.engines import environment
    from release.images import load
    from release.store import Store, default_root

    store = Store(default_root())
    loaded = load(PROJECT / "images", image, "cpu", store.stat_cache)
    return environment.provide(loaded, store, lambda _: None).python


@pytest.fixture(scope="session")
def quantize_python() -> Path:
    """Return the interpreter with torch, transformers and modelopt."""
    return environment_python("quantize")


@pytest.fixture(scope="session")
def serve_python() -> Path:
    """Return the interpreter with vLLM."""
    return environment_python("serve")
