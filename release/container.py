"""How an image becomes a container: the table ``container`` of a variant in ``image.toml``.

Example::

    [variants.cpu.container]
    dockerfile = "cpu.Dockerfile"          # a file of images/, as is the next one
    builder = "builder.lock"
    base = "python:3.11-slim-bookworm@sha256:..."
    python = "3.11"
    source_date_epoch = 1750000000
    gpu = false
    imports = ["numpy"]
    platforms = {"linux/amd64" = "x86_64-manylinux_2_36"}   # as Docker and as uv name it
    limits = {memory = "24g", shm = "2g", pids = 4096, nofile = 65536}
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release.digest import Json
from release.tables import Table

PINNED_BASE = re.compile(r"(?P<tag>[a-z0-9][a-z0-9._/:-]*:[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
GPU = re.compile(r"sm_\d{2,3}")
SIZE = re.compile(r"[1-9][0-9]*[kmg]")
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a step in the container may take: bytes of memory and of shared memory, processes, files."""

    memory: int
    shm: int
    pids: int
    nofile: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """For which GPU (``sm_121``) libraries must hold kernels.

    ``libraries`` maps a path below site-packages to a regular expression for the mangled
    name of a kernel that must be among them; "" where any kernel will do.
    """

    gpu: str
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What a variant is built from beside its lock, and how its steps run.

    ``dockerfile`` and ``builder`` (the uv that installs the lock, by hash) are files of
    ``images/`` that images share. ``base`` is ``name:tag@sha256:digest``; ``platforms`` maps a
    platform to uv's name of it; ``env`` is set in the container alone.
    """

    dockerfile: Path
    builder: Path
    base: str
    python: str
    source_date_epoch: int
    gpu: bool
    imports: tuple[str, ...]
    platforms: Mapping[str, str]
    limits: Limits
    env: Mapping[str, str] = field(default_factory=dict)
    compiled: Compiled | None = None

    @property
    def tag(self) -> str:
        """The base by name and tag, without its digest."""
        return self.base.partition("@")[0]

    def facts(self, platform: str) -> dict[str, Json]:
        """Return what decides the built image on ``platform``, beside files; limits decide nothing."""
        return {
            "base": self.base,
            "python": self.python,
            "platform": platform,
            "uv_platform": self.platforms.get(platform, ""),
            "source_date_epoch": self.source_date_epoch,
        }


def parse(table: Table, images: Path) -> Container:
    """Read the table ``container`` of a variant of an image below ``images``. Raises ConfigError."""
    dockerfile, builder = (_shared(table, images, key) for key in ("dockerfile", "builder"))
    base = table.take("base", str)
    if not PINNED_BASE.fullmatch(base):
        raise table.error("base", "name:tag@sha256:digest", repr(base))
    container = Container(
        dockerfile=dockerfile,
        builder=builder,
        base=base,
        python=table.take("python", str),
        source_date_epoch=table.take("source_date_epoch", int),
        gpu=table.take("gpu", bool, False),
        imports=table.take_strings("imports"),
        platforms=_strings(table.take_table("platforms")),
        limits=_limits(table.take_table("limits")),
        env=_strings(table.take_table("env", optional=True)),
        compiled=_compiled(table.take_table("compiled", optional=True)),
    )
    table.done()
    return container


def _compiled(table: Table) -> Compiled | None:
    if not table.keys():
        return None
    gpu = table.take("gpu", str)
    if not GPU.fullmatch(gpu):
        raise table.error("gpu", "an architecture such as sm_121", repr(gpu))
    libraries = _strings(table.take_table("libraries"))
    table.done()
    return Compiled(gpu=gpu, libraries=libraries)


def _shared(table: Table, images: Path, key: str) -> Path:
    name = table.take(key, str)
    if Path(name).name != name or not (images / name).is_file():
        raise table.error(key, f"a file of {images}", name)
    return images / name


def _limits(table: Table) -> Limits:
    limits = Limits(
        memory=_size(table, "memory"),
        shm=_size(table, "shm"),
        pids=table.take("pids", int),
        nofile=table.take("nofile", int),
    )
    table.done()
    return limits


def _size(table: Table, key: str) -> int:
    text = table.take(key, str)
    if not SIZE.fullmatch(text):
        raise table.error(key, "a number and k, m or g, such as 24g", repr(text))
    return int(text[:-1]) * UNITS[text[-1]]


def _strings(table: Table) -> Mapping[str, str]:
    return {key: table.take(key, str) for key in table.keys()}  # noqa: SIM118 (a Table is no mapping)
