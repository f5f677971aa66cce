"""Realizations: which tree a key gave, and how."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from release.store import durable

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Realization:
    """One finished step: its key, the tree it gave, and facts about the run.

    ``seconds`` is wall time; ``isolation`` says what the engine enforced. Neither is
    part of the key. ``signed_by`` names the signer when a remote cache gave it, else it was
    built here.
    """

    key: str
    name: str
    tree: str
    derivation: Mapping[str, object]
    seconds: float
    engine: str
    isolation: Mapping[str, str] = field(default_factory=dict)
    signed_by: str | None = None
    format: int = FORMAT

    @property
    def inputs(self) -> Mapping[str, str]:
        """The trees that the step read, by input name."""
        found = self.derivation.get("inputs")
        return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Realizations:
    """The folder of realizations by key, and the last key of each step name."""

    folder: Path
    _seen: dict[str, Realization] = field(default_factory=dict)

    def path(self, key: str) -> Path:
        """Return where the realization of ``key`` lies."""
        return self.folder / f"{key}.json"

    def get(self, key: str) -> Realization | None:
        """Return the realization of ``key``, or None when there is none that reads.

        One that was found is read once; one that was not may appear at any time.
        """
        if key not in self._seen:
            found = _parse(self.path(key))
            if found is None:
                return None
            self._seen[key] = found
        return self._seen[key]

    def put(self, realization: Realization) -> None:
        """Record a realization: the moment from which its key is a hit."""
        text = json.dumps(asdict(realization), indent=1, sort_keys=True)
        durable.write(self.path(realization.key), text.encode() + b"\n")
        self._seen.pop(realization.key, None)

    def forget(self) -> None:
        """Read again what was read before: the collector ran."""
        self._seen.clear()

    def all(self) -> Iterator[Realization]:
        """Yield each realization that reads, sorted by key."""
        for path in sorted(self.folder.glob("[!.]*.json")):
            if (found := self.get(path.stem)) is not None:
                yield found

    def lasts(self) -> dict[tuple[str, str], str]:
        """Return the newest key of each (line, step)."""
        return {
            (path.parent.name, path.name): path.read_text()
            for path in sorted((self.folder / "last").glob("*/[!.]*"))
        }

    def last(self, line: str, step: str) -> Realization | None:
        """Return the newest realization of ``step`` in release line ``line``."""
        pointer = self.folder / "last" / line / step
        return self.get(pointer.read_text()) if pointer.is_file() else None

    def set_last(self, line: str, step: str, key: str) -> None:
        """Remember ``key`` as the newest of ``step``."""
        pointer = self.folder / "last" / line / step
        if not pointer.is_file() or pointer.read_text() != key:
            durable.write(pointer, key.encode())


def _parse(path: Path) -> Realization | None:
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    try:
        return Realization(**data)
    except TypeError:  # fields that this format does not have
        return None
