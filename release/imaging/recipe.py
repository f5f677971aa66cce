"""What a build of an image is: decided before anything runs (pure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.errors import UsageError
from release.images import Image
from release.store.built import LOCKED

BUILDKIT = "moby/buildkit:v0.32.0@sha256:1f8167fcb0eca5b7126353d35299386945cbb8949cc516c592a49f80cfce4fa2"
"""The builder of a container of its own, where the engine's BuildKit cannot do it."""
OWN_BUILDER = "graftsmith"
ENGINES_BUILDER = "default"
STAND_IN = re.compile(r"(oci-layout|docker-image)://\S+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build: an image, for a platform, on a base.

    ``base`` is ``locked``, or a build context that stands in for the locked base. One that
    is built ``again``, to be compared, has a tag of its own: an engine drops what has none.
    """

    image: Image
    platform: str
    base: str = LOCKED
    again: bool = False

    @property
    def inputs(self) -> str:
        """The hash of everything that it is made of."""
        return self.image.build_hash(self.platform)

    @property
    def name(self) -> str:
        """The image and its variant, for people."""
        return f"{self.image.name}/{self.image.variant}"

    @property
    def base_name(self) -> str:
        """The base as a record names it: where a stand-in lies says nothing, its digest does."""
        return LOCKED if self.base == LOCKED else f"stand-in {self.base.rpartition('@')[2]}"

    @property
    def tag(self) -> str:
        """What the image is called in the engine."""
        again = "-again" if self.again else ""
        return f"graftsmith/{self.image.name}:{self.image.variant}-{self.inputs[:12]}{again}"

    def options(self) -> list[str]:
        """Return what buildx is told about the image: arguments, labels, base, reproducibility."""
        held = self.image.required_container()
        arguments = {
            "BASE": held.base,
            "SOURCE_DATE_EPOCH": str(held.source_date_epoch),
            "PYTHON_PLATFORM": held.platforms[self.platform],
        }
        labels = {
            "org.opencontainers.image.title": f"graftsmith {self.name}",
            "io.graftsmith.inputs": self.inputs,
        }
        stand_in = () if self.base == LOCKED else ("--build-context", f"{held.base}={self.base}")
        return [
            *("--platform", self.platform, "--progress", "plain"),
            *("--provenance=false", "--sbom=false"),  # both would put a clock into the index
            *stand_in,
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            *(f"--label={key}={value}" for key, value in labels.items()),
        ]

    def output(self, archive: Path) -> str:
        """Return the exporter: an OCI archive whose every time is the fixed one."""
        options: Mapping[str, str] = {
            "type": "oci",
            "dest": str(archive),
            "name": f"docker.io/{self.tag}",
            "rewrite-timestamp": "true",
            "compression": "zstd",
            "force-compression": "true",
            "oci-mediatypes": "true",
        }
        return ",".join(f"{key}={value}" for key, value in options.items())


def platform_of(image: Image, here: str) -> str:
    """Return the platform to build for: this one where the image is for it, else the image's first."""
    platforms = image.required_container().platforms
    return here if here in platforms else min(platforms)


def check_base(base: str) -> str:
    """Return a stand-in as it was typed. Raises UsageError when it is not pinned by digest."""
    if base != LOCKED and not STAND_IN.fullmatch(base):
        raise UsageError(
            f"--base {base!r}: expected oci-layout://FOLDER@sha256:… or docker-image://NAME@sha256:…",
            why="An image is made of what a digest names.",
        )
    return base
