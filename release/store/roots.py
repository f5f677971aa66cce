"""Roots: what a release was made of, and what each line is locked to.

    roots/<line>/<version>   {"quantize": {"key": "…", "tree": "…"}, …}
    sources/<line>.json      {"base": "<tree>", …}

The garbage collector keeps what is named here, and a question finds here in which
release a result stands.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from release.errors import ConfigError
from release.store import durable


@dataclass(frozen=True, slots=True)
class Rooted:
    """A step's result in a release: its key and the tree that it gave."""

    key: str
    tree: str


@dataclass(frozen=True, slots=True)
class Roots:
    """The release records of a store."""

    folder: Path
    sources_folder: Path

    def lines(self) -> tuple[str, ...]:
        """Return the release lines that have a record."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.folder.iterdir() if path.is_dir()))

    def versions(self, line: str) -> tuple[str, ...]:
        """Return the released versions of ``line``, oldest first as SemVer orders them."""
        folder = self.folder / line
        if not folder.is_dir():
            return ()
        import semver  # only a store with releases pays for it

        names = [path.name for path in folder.iterdir() if semver.Version.is_valid(path.name)]
        return tuple(sorted(names, key=lambda name: (semver.Version.parse(name), name)))

    def path(self, line: str, version: str) -> Path:
        """Return where the record of a version lies."""
        return self.folder / line / version

    def get(self, line: str, version: str) -> Mapping[str, Rooted] | None:
        """Return a release by step name, or None when there is no record that reads."""
        try:
            data = json.loads(self.path(line, version).read_text())
            return {str(step): Rooted(str(item["key"]), str(item["tree"])) for step, item in data.items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, line: str, version: str, release: Mapping[str, Rooted]) -> None:
        """Record a release."""
        root = {name: {"key": step.key, "tree": step.tree} for name, step in sorted(release.items())}
        _write(self.path(line, version), root)

    def all(self, line: str) -> dict[str, Mapping[str, Rooted]]:
        """Return each version of ``line`` whose record reads, oldest first."""
        found = {version: self.get(line, version) for version in self.versions(line)}
        return {version: release for version, release in found.items() if release is not None}

    def sources(self) -> dict[str, Mapping[str, str]]:
        """Return line → source name → tree that the line was last locked to.

        Raises ConfigError for a file that does not read: its sources are not garbage.
        """
        found: dict[str, Mapping[str, str]] = {}
        for path in sorted(self.sources_folder.glob("[!.]*.json")):
            try:
                found[path.stem] = _sources(path)
            except ValueError as error:
                raise ConfigError(
                    f"{path} does not read: {error}",
                    why="It names the sources that a line is locked to.",
                    hint=f"type: invoke build --recipe {path.stem}, which writes it again; or remove it",
                ) from error
        return found

    def hold_sources(self, line: str, trees: Mapping[str, str]) -> None:
        """Keep the sources of ``line`` from now on, in place of those of the same names."""
        path, held = self.sources_folder / f"{line}.json", dict[str, str]()
        with suppress(FileNotFoundError, ValueError):
            held = _sources(path)
        wanted = {**held, **trees}
        if wanted != held:
            _write(path, wanted)


def _sources(path: Path) -> dict[str, str]:
    data = json.loads(path.read_text())
    if not isinstance(data, dict):
        raise ValueError("expected a table of trees by source name")
    return {str(name): str(tree) for name, tree in data.items()}


def _write(path: Path, data: object) -> None:
    durable.write(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())
