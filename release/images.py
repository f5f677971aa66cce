"""Images as data: ``images/<name>/image.toml``, the files of one variant, and what images share.

An image is identified by the hash of what goes into it, never by what an engine makes of
it. Two hashes, because two questions are asked:

- ``input_hash``, in the key of each step: what the step's programs are. The lock, the
  overlay, the environment variables, platform, Python minor and uv. The same on either
  engine, so a result of one serves the other; a Dockerfile's comment builds nothing anew.
- ``build_hash``, of the container image: the above, and the Dockerfile, the base by digest
  and every other file of the variant. It stands in the key of a step that measures in a
  container.
"""

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from release import container as containers
from release.container import Container
from release.digest import Json, Tree, canonical_json, sha256_bytes
from release.errors import ConfigError, MachineError
from release.store.stat_cache import StatCache
from release.tables import Table, expect_format, read

FORMAT = 1
IMAGES = ("quantize", "serve")
"""The images that steps run in."""
IMAGE_FILE = "image.toml"
PINNED = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\\n]+))?")
"""A line of a hashed lock: name, version, marker."""


def this_python() -> str:
    """Return the minor version of the Python that runs this."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One variant of an image: its files and the environment of its steps.

    ``context`` holds every file of the variant and those of ``images/`` that its container
    names; ``installed`` the files that decide what is installed. ``container`` is None where
    a variant runs in no container.
    """

    name: str
    variant: str
    folder: Path
    context: Tree
    lock: Path
    overlay: Path | None
    env: Mapping[str, str]
    notes: Mapping[str, str]
    installed: Tree = field(default_factory=lambda: Tree({}))
    container: Container | None = None
    python: str = field(default_factory=this_python)

    def input_hash(self, uv_version: str) -> str:
        """Return the hex sha256 that stands in the key of each step in this image."""
        return sha256_bytes(canonical_json(self.facts(uv_version)))

    def facts(self, uv_version: str) -> dict[str, str]:
        """Return what the input hash is taken from."""
        return {
            "installed": self.installed.digest,
            **{f"env.{name}": value for name, value in self.env.items()},
            "variant": self.variant,
            "platform": this_platform(),
            "python": self.python,
            "uv": uv_version,
        }

    def in_container(self) -> "Image":
        """Return the image as steps in its container see it: with the Python of the container.

        Raises ConfigError when it has none, and MachineError when it is not for this platform.
        """
        held = self.required_container()
        if this_platform() not in held.platforms:
            raise MachineError(
                f"image {self.name} ({self.variant}) is for {', '.join(sorted(held.platforms))}; "
                f"this machine is {this_platform()}",
                hint="choose another variant in recipe.toml, or run the release on such a machine",
            )
        return replace(self, python=held.python)

    def required_container(self) -> Container:
        """Return how the image becomes a container. Raises ConfigError when it does not."""
        if self.container is None:
            raise ConfigError(
                f"{self.folder / IMAGE_FILE}: variants.{self.variant}.container: "
                "expected a table, got nothing"
            )
        return self.container

    def path(self, name: str) -> Path:
        """Return where a file of the context lies."""
        held = self.container
        shared = {path.name: path for path in (held.dockerfile, held.builder)} if held else {}
        return shared.get(name, self.folder / name)

    def build_hash(self, platform: str) -> str:
        """Return the hex sha256 of everything that a build for ``platform`` is made of."""
        files = {path: file for path, file in self.context.files.items() if path != IMAGE_FILE}
        facts = {
            "files": Tree(files).digest,
            "name": self.name,
            "variant": self.variant,
            **self.required_container().facts(platform),
        }
        return sha256_bytes(canonical_json(facts))

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
    table = read(folder / IMAGE_FILE)
    expect_format(table, FORMAT)
    found = table.take("name", str)
    if found != name:
        raise table.error("name", repr(name), repr(found))
    variants = table.take_tables("variants")
    table.done()
    if variant not in variants:
        return None
    own = _own(folder, variant, variants, cache)
    image = _variant(variants[variant], name, variant, folder, own)
    if image.container is None:
        return image
    shared = {path.name: cache.file(path) for path in (image.container.dockerfile, image.container.builder)}
    return replace(image, context=Tree({**own.files, **shared}))


def _variant(table: Table, name: str, variant: str, folder: Path, context: Tree) -> Image:
    table.take("requirements", str)
    lock = _member(table, folder, table.take("lock", str), "lock")
    overrides = table.take("overrides", str, "")
    overlay = table.take("overlay", str, "")
    described = table.take_table("container", optional=True)
    held = containers.parse(described, folder.parent) if described.keys() else None
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
        installed=_installed(context, folder, lock, overlay),
        container=held,
    )


def _installed(context: Tree, folder: Path, lock: Path, overlay: str) -> Tree:
    """Return the lock and the overlay: what decides the installed files."""
    named = lock.relative_to(folder).as_posix()
    inside = {
        path: file
        for path, file in context.files.items()
        if path == named or (overlay and path.startswith(f"{overlay}/"))
    }
    return Tree(inside)


def _member(table: Table, folder: Path, path: str, key: str) -> Path:
    target = folder / path
    if not target.exists() or not target.resolve().is_relative_to(folder.resolve()):
        raise table.error(key, f"a path inside {folder}", path)
    return target


def _own(folder: Path, variant: str, variants: Mapping[str, Table], cache: StatCache) -> Tree:
    """Return the files of the folder without those of other variants."""
    others = {name for name in variants if name != variant}
    tree = cache.tree(folder)
    return Tree({path: file for path, file in tree.files.items() if path.split("/")[0] not in others})
