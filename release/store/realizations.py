"""Realizations: which tree a key gave, and how."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from release.store import durable

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Realization:
    """One finished step: its key, the tree it gave, and facts about the run.

    ``seconds`` is wall time; ``isolation`` says what the engine enforced. Neither is
    part of the key.
    """

    key: str
    name: str
    tree: str
    derivation: Mapping[str, object]
    seconds: float
    engine: str
    isolation: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Realizations:
    """The folder of realizations by key, and the last key of each step name."""

    folder: Path

    def get(self, key: str) -> Realization | None:
        """Return the realization of ``key``, or None when there is none that reads."""
        return _parse(self.folder / f"{key}.json")

    def put(self, realization: Realization) -> None:
        """Record a realization: the moment from which its key is a hit."""
        text = json.dumps(asdict(realization), indent=1, sort_keys=True)
        durable.write(self.folder / f"{realization.key}.json", text.encode() + b"\n")

    def last(self, line: str, step: str) -> Realization | None:
        """Return the newest realization of ``step`` in release line ``line``."""
        pointer = self.folder / "last" / line / step
        return self.get(pointer.read_text()) if pointer.is_file() else None

    def set_last(self, line: str, step: str, key: str) -> None:
        """Remember ``key`` as the newest of ``step``."""
        durable.write(self.folder / "last" / line / step, key.encode())


def _parse(path: Path) -> Realization | None:
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        return None
    return Realization(**data)
