"""What is kept: the roots of a store, and everything that they need.

Roots are the release records (the newest N of each line), the last realization of each
step of each line, the sources that each line is locked to, what waits to be promoted, and
what running releases pinned. From a kept realization follow its tree, the objects of that,
its environment, its log, the image in whose container it was measured, and the manifests
that a question compares with. Of container images, the last of each variant and platform is
a root too.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from release.errors import ConfigError
from release.store import built
from release.store.realizations import Realization
from release.store.roots import Rooted
from release.store.store import Store

ENVIRONMENT_ID = 32
"""Digits of an image's input hash that name its environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What is kept, by digest.

    ``logs`` by file name, ``releases`` as (line, version), ``built`` container images by
    what they were built from.
    """

    keys: frozenset[str]
    trees: frozenset[str]
    known_trees: frozenset[str]
    manifests: frozenset[str]
    objects: frozenset[str]
    environments: frozenset[str]
    logs: frozenset[str]
    releases: frozenset[tuple[str, str]]
    built: frozenset[str] = frozenset()


def mark(store: Store, keep: int | None) -> Live:
    """Return what is kept. Raises ConfigError when a record that says so does not read."""
    pins = store.pins.live()
    releases = {(line, version) for line in store.roots.lines() for version in _newest(store, line, keep)}
    rooted = [_rooted(store, line, version) for line, version in sorted(releases)]
    keys = {step.key for release in rooted for step in release.values()}
    keys |= set(store.realizations.lasts().values())
    keys |= {pin for pin in pins if store.realizations.get(pin) is not None}
    realizations = [found for key in sorted(keys) if (found := store.realizations.get(key)) is not None]
    sources = {tree for line in store.roots.sources().values() for tree in line.values()}
    # A release's trees by its own record too: results that no longer read are no reason to lose bytes.
    trees = {found.tree for found in realizations} | sources | pins
    trees |= {step.tree for release in rooted for step in release.values()}
    recorded = {(line, version) for line in store.roots.lines() for version in store.roots.versions(line)}
    trees |= set(store.waiting.trees(without=recorded - releases))
    images = built.folder(store.root)
    inputs = {digest for found in realizations for digest in found.inputs.values()}
    return Live(
        keys=frozenset(keys),
        trees=frozenset(trees),
        known_trees=frozenset(trees | inputs),
        manifests=frozenset(pins).union(*(_hashed(found) for found in realizations)),
        objects=frozenset(_objects(store, trees)),
        environments=frozenset(name[:ENVIRONMENT_ID] for name in pins | _images(realizations)),
        logs=store.logs.lasts() | {store.logs.path(found.key, found.name).name for found in realizations},
        releases=frozenset(releases),
        built=images.newest() | built.measured_in(found.derivation for found in realizations),
    )


def _newest(store: Store, line: str, keep: int | None) -> tuple[str, ...]:
    versions = store.roots.versions(line)
    return versions if keep is None else versions[len(versions) - min(keep, len(versions)) :]


def _rooted(store: Store, line: str, version: str) -> Mapping[str, Rooted]:
    release = store.roots.get(line, version)
    if release is None:
        raise ConfigError(
            f"{store.roots.path(line, version)} does not read",
            why="What that release is made of cannot be told from garbage, so nothing is collected.",
            hint=f"type: invoke release --recipe {line} --version {version}; or remove that file",
        )
    return release


def _hashed(found: Realization) -> set[str]:
    """Return the digests of a derivation that manifests explain."""
    return {str(digest) for name in ("code", "image") if (digest := found.derivation.get(name))}


def _images(realizations: Iterable[Realization]) -> set[str]:
    return {str(image) for found in realizations if (image := found.derivation.get("image"))}


def _objects(store: Store, trees: Iterable[str]) -> Iterator[str]:
    for digest in trees:
        if (tree := store.manifest(digest)) is not None:
            yield from (file.sha256 for file in tree.files.values())
