"""Manifests: what a digest in a derivation was taken from, kept after the files are gone.

The key of a step holds one digest for its code and one for its image. Kept here, by that
digest, are the files behind it (no bytes) and the facts that were hashed with them, so
that a later question can name the file that changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release.digest import Tree
from release.store import durable

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files by path, and facts by name."""

    files: Tree
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifests:
    """The folder of manifests by digest."""

    folder: Path

    def get(self, digest: str) -> Manifest | None:
        """Return the manifest of ``digest``, or None when there is none that reads."""
        try:
            return _parse(json.loads((self.folder / f"{digest}.json").read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def put(self, digest: str, manifest: Manifest) -> None:
        """Keep a manifest; one that is there stays as it is."""
        path = self.folder / f"{digest}.json"
        if not path.is_file():
            data = {"format": FORMAT, "files": manifest.files.to_json(), "facts": dict(manifest.facts)}
            durable.write(path, json.dumps(data, indent=1, sort_keys=True).encode() + b"\n")


def _parse(data: object) -> Manifest:
    match data:
        case {"format": 1, "files": dict(files), "facts": dict(facts)}:
            return Manifest(Tree.from_json(files), {str(name): str(fact) for name, fact in facts.items()})
    raise ValueError(f"expected a manifest of format {FORMAT}")
