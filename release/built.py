"""Built images: which digest a build hash gave, and how. ``images/<build hash>.json`` in the store."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from release.store import durable

FORMAT = 1
LOCKED = "locked"
"""The base that ``image.toml`` names by digest, and no stand-in for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """One built image.

    ``digest`` names its manifest, ``config`` its configuration, ``diff_ids`` its layers
    before compression: the last do not depend on the engine's version. ``base`` is
    ``locked``, or ``stand-in`` and the digest of what was taken for the locked base.
    ``checks`` holds what was found true of the image before it counted.
    """

    inputs: str
    name: str
    variant: str
    platform: str
    tag: str
    digest: str
    config: str
    diff_ids: tuple[str, ...]
    size: int
    base: str
    builder: str
    seconds: float
    checks: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """What stands in the key of a step that measures in this image."""
        return self.inputs if self.base == LOCKED else f"{self.inputs} on {self.base}"


@dataclass(frozen=True, slots=True)
class BuiltImages:
    """The folder of built images by build hash."""

    folder: Path

    def path(self, inputs: str) -> Path:
        """Return where the record of a build hash lies."""
        return self.folder / f"{inputs}.json"

    def get(self, inputs: str) -> BuiltImage | None:
        """Return the image that was built from ``inputs``, or None when no record reads."""
        try:
            data = json.loads(self.path(inputs).read_text())
            if data["format"] != FORMAT:
                return None
            return BuiltImage(**{**data, "diff_ids": tuple(data["diff_ids"])})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def put(self, built: BuiltImage) -> None:
        """Record an image: from here on its inputs are a hit."""
        text = json.dumps(asdict(built), indent=1, sort_keys=True)
        durable.write(self.path(built.inputs), text.encode() + b"\n")


def folder(store: Path) -> BuiltImages:
    """Return the built images of the store at ``store``."""
    return BuiltImages(store / "images")
