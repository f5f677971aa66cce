"""Images as data: ``images/<name>/image.toml`` and the files of one variant.

An image is identified by the hash of everything that goes into it, never by what an
engine makes of it: the top-level files of its folder, those of its variant, the
platform, the Python minor and the tool that installs its lock.
"""

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.digest import Json, Tree, canonical_json, sha256_bytes
from release.errors import ConfigError
from release.store.stat_cache import StatCache
from release.tables import Table, expect_format, read

FORMAT = 1
PINNED = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\\n]+))?")
"""A line of a hashed lock: name, version, marker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One variant of an image: its files and the environment of its steps."""

    name: str
    variant: str
    folder: Path
    context: Tree
    lock: Path
    overlay: Path | None
    env: Mapping[str, str]
    notes: Mapping[str, str]

    def input_hash(self, uv_version: str) -> str:
        """Return the hex sha256 that stands in the key of each step in this image."""
        return sha256_bytes(canonical_json(self.facts(uv_version)))

    def facts(self, uv_version: str) -> dict[str, str]:
        """Return what the input hash is taken from."""
        return {
            "context": self.context.digest,
            "variant": self.variant,
            "platform": this_platform(),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "uv": uv_version,
        }

    def bill(self) -> dict[str, Json]:
        """Return what the lock names (name, version, marker, sha256 of its wheels) and the notes."""
        packages: list[Json] = []
        for entry in re.split(r"\n(?=\S)", self.lock.read_text()):
            if found := PINNED.match(entry):
                name, version, marker = (part or "" for part in found.groups())
                packages.append(
                    [name, version, marker.strip(), list(re.findall(r"sha256:([0-9a-f]{64})", entry))]
                )
        return {"packages": packages, "notes": dict(self.notes)}


def this_platform() -> str:
    """Return this machine's platform as OCI names it, such as ``linux/arm64``."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine()
    return f"{platform.system().lower()}/{names.get(machine, machine)}"


def load(images: Path, name: str, variant: str, cache: StatCache) -> Image:
    """Read one variant of image ``name``. Raises ConfigError for what is wrong in it."""
    image = find(images, name, variant, cache)
    if image is None:
        raise ConfigError(f"{images / name / 'image.toml'}: no variant {variant}")
    return image


def find(images: Path, name: str, variant: str, cache: StatCache) -> Image | None:
    """Read one variant of image ``name``; None while nobody has described that variant.

    Raises ConfigError for what is wrong in it.
    """
    folder = images / name
    table = read(folder / "image.toml")
    expect_format(table, FORMAT)
    found = table.take("name", str)
    if found != name:
        raise table.error("name", repr(name), repr(found))
    variants = table.take_tables("variants")
    table.done()
    if variant not in variants:
        return None
    return _variant(variants[variant], name, variant, folder, _context(folder, variant, variants, cache))


def _variant(table: Table, name: str, variant: str, folder: Path, context: Tree) -> Image:
    table.take("requirements", str)
    lock = _member(table, folder, table.take("lock", str), "lock")
    overrides = table.take("overrides", str, "")
    overlay = table.take("overlay", str, "")
    for key, path in (("overrides", overrides), ("overlay", overlay)):
        if path:
            _member(table, folder, path, key)
    env, notes = (
        {key: str(value) for key, value in table.take_table(name, optional=True).take_rest().items()}
        for name in ("env", "notes")
    )
    table.done()
    return Image(
        name=name,
        variant=variant,
        folder=folder,
        context=context,
        lock=lock,
        overlay=folder / overlay if overlay else None,
        env=env,
        notes=notes,
    )


def _member(table: Table, folder: Path, path: str, key: str) -> Path:
    target = folder / path
    if not target.exists() or not target.resolve().is_relative_to(folder.resolve()):
        raise table.error(key, f"a path inside {folder}", path)
    return target


def _context(folder: Path, variant: str, variants: Mapping[str, Table], cache: StatCache) -> Tree:
    """Return the files of the folder without those of other variants."""
    others = {name for name in variants if name != variant}
    tree = cache.tree(folder)
    return Tree({path: file for path, file in tree.files.items() if path.split("/")[0] not in others})
