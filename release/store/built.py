"""Built images: which digest a build hash gave, and how. ``images/<build hash>.json`` in the store."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from release.store import durable

FORMAT = 1
HASH = re.compile(r"[0-9a-f]{64}")
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
    def cache_name(self) -> str:
        """What the folders are named after that hold what its containers compiled for themselves."""
        return self.config.removeprefix("sha256:")[:16]

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

    def all(self) -> Iterator[tuple[BuiltImage, float]]:
        """Yield each image that has a record, and when that was written."""
        for path in sorted(self.folder.glob("*.json")):
            if HASH.fullmatch(path.stem) and (found := self.get(path.stem)) is not None:
                yield found, path.stat().st_mtime

    def newest(self) -> frozenset[str]:
        """Return the inputs of the image that was recorded last, of each variant and platform."""
        last: dict[tuple[str, str, str], tuple[float, str]] = {}
        for image, when in self.all():
            one = (image.name, image.variant, image.platform)
            last[one] = max(last.get(one, (0.0, "")), (when, image.inputs))
        return frozenset(inputs for _, inputs in last.values())

    def put(self, built: BuiltImage) -> None:
        """Record an image: from here on its inputs are a hit."""
        text = json.dumps(asdict(built), indent=1, sort_keys=True)
        durable.write(self.path(built.inputs), text.encode() + b"\n")


def measured_in(derivations: Iterable[Mapping[str, object]]) -> frozenset[str]:
    """Return the inputs of the images in whose containers something was measured."""
    found = set()
    for derivation in derivations:
        machine = derivation.get("machine")
        held = HASH.match(str(machine.get("container", ""))) if isinstance(machine, Mapping) else None
        if held is not None:
            found.add(held[0])
    return frozenset(found)


def folder(store: Path) -> BuiltImages:
    """Return the built images of the store at ``store``."""
    return BuiltImages(store / "images")
