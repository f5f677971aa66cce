"""Provenance: what a tree is made of and how, as SLSA v1 in an in-toto statement.

    statement = dump(Provenance(...))        the bytes of provenance.json
    found = parse(data)                      subjects, materials, who and what

https://slsa.dev/spec/v1.1/provenance and https://github.com/in-toto/attestation/tree/main/spec/v1

No clock and no serial number. Two machines write different statements for the same release (their
steps ran elsewhere), so it stands beside the tree and outside every comparison.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from release.digest import HEX, Json

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:graftsmith:release:v1"
BUILDER = "urn:graftsmith:builder:"
PAYLOAD = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One thing that went in. ``digest`` maps an algorithm to a value; ``uri`` may be empty."""

    name: str
    digest: Mapping[str, str]
    uri: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the in-toto resource descriptor."""
        return {"name": self.name, **({"uri": self.uri} if self.uri else {}), "digest": dict(self.digest)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One step: its key, the tree that it gave, and under what it ran."""

    name: str
    key: str
    tree: str
    engine: str
    isolation: Mapping[str, str]

    def to_json(self) -> dict[str, Json]:
        """Return the in-toto resource descriptor of the step's tree."""
        annotations: dict[str, Json] = {
            "key": self.key,
            "engine": self.engine,
            "isolation": dict(self.isolation),
        }
        return {"name": self.name, "digest": {"sha256": self.tree}, "annotations": annotations}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where one repo's tree comes from. ``subjects`` maps each of its paths to its sha256."""

    subjects: Mapping[str, str]
    release: Mapping[str, str]
    """Recipe, version, kind, repo, sibling."""
    lock: str
    engine: str
    tool: str
    """The version of graftsmith."""
    materials: tuple[Material, ...]
    steps: tuple[Ran, ...]


def dump(provenance: Provenance) -> bytes:
    """Return the statement as JSON with sorted keys and a final newline."""
    table = {
        "_type": STATEMENT,
        "subject": [
            {"name": path, "digest": {"sha256": digest}}
            for path, digest in sorted(provenance.subjects.items())
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": dict(provenance.release),
                "internalParameters": {"lock": provenance.lock},
                "resolvedDependencies": [material.to_json() for material in provenance.materials],
            },
            "runDetails": {
                "builder": {
                    "id": f"{BUILDER}{provenance.engine}",
                    "version": {"graftsmith": provenance.tool},
                },
                "byproducts": [step.to_json() for step in provenance.steps],
            },
        },
    }
    return (json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse(data: bytes) -> Provenance:
    """Parse a statement of ours. Raises ValueError with what was expected and what was found."""
    try:
        table: Json = json.loads(data)
    except ValueError as error:
        raise ValueError(f"expected JSON: {error}") from error
    match table:
        case {
            "_type": str(kind),
            "subject": [*subjects],
            "predicateType": str(predicate_type),
            "predicate": {
                "buildDefinition": {
                    "buildType": str(build),
                    "externalParameters": dict(release),
                    "internalParameters": {"lock": str(lock)},
                    "resolvedDependencies": [*materials],
                },
                "runDetails": {
                    "builder": {"id": str(builder), "version": {"graftsmith": str(tool)}},
                    "byproducts": [*steps],
                },
            },
        } if (kind, predicate_type, build) == (STATEMENT, PREDICATE, BUILD):
            return Provenance(
                subjects=_subjects(subjects),
                release={key: str(value) for key, value in release.items()},
                lock=lock,
                engine=builder.removeprefix(BUILDER),
                tool=tool,
                materials=tuple(_material(entry) for entry in materials),
                steps=tuple(_ran(entry) for entry in steps),
            )
    raise ValueError(f"expected a {STATEMENT} with a {PREDICATE} of {BUILD}")


def _subjects(entries: list[Json]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        match entry:
            case {"name": str(name), "digest": {"sha256": str(digest)}} if HEX.fullmatch(digest):
                if name in found:
                    raise ValueError(f"subject {name} twice")
                found[name] = digest
            case _:
                raise ValueError(f"expected a subject with a name and a sha256, got {str(entry)[:80]}")
    return found


def _material(entry: Json) -> Material:
    match entry:
        case {"name": str(name), "digest": dict(digest), **rest}:
            values = {key: str(value) for key, value in digest.items()}
            return Material(name=name, digest=values, uri=str(rest.get("uri", "")))
    raise ValueError(f"expected a dependency with a name and a digest, got {str(entry)[:80]}")


def _ran(entry: Json) -> Ran:
    match entry:
        case {
            "name": str(name),
            "digest": {"sha256": str(tree)},
            "annotations": {"key": str(key), "engine": str(engine), "isolation": dict(isolation)},
        }:
            facts = {key: str(value) for key, value in isolation.items()}
            return Ran(name=name, key=key, tree=tree, engine=engine, isolation=facts)
    raise ValueError(f"expected a step with key, engine and isolation, got {str(entry)[:80]}")
