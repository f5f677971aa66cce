"""Tombstones: what is gone from the store, when and why, so that a miss can be explained.

One file of JSON lines for each run that took something away::

    {"kind": "result", "digest": "<key>", "what": "smoke-nvfp4", "size": 120, "when": "…", "why": "…"}

A damaged object is moved here under its digest. Nothing here is part of a key.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from release.store import durable


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """One thing that was taken away. ``when`` is ISO 8601 in UTC, ``size`` bytes."""

    kind: str
    digest: str
    what: str
    size: int
    when: str
    why: str

    def __str__(self) -> str:
        return f"{self.why} on {self.when[:10]}"


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The folder of tombstones."""

    folder: Path

    def bury(self, stones: Iterable[Tombstone]) -> None:
        """Record what a run takes away, before it does."""
        lines = [json.dumps(asdict(stone), sort_keys=True) for stone in stones]
        if lines:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.jsonl"
            durable.write(self.folder / name, ("\n".join(lines) + "\n").encode())

    def find(self, digest: str) -> Tombstone | None:
        """Return the newest tombstone of a key or digest."""
        for path in sorted(self.folder.glob("[!.]*.jsonl"), reverse=True):
            for line in path.read_text().splitlines():
                if digest in line and (stone := _parse(line)) is not None and stone.digest == digest:
                    return stone
        return None


def now() -> str:
    """Return this moment as a tombstone writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _parse(line: str) -> Tombstone | None:
    try:
        return Tombstone(**json.loads(line))
    except (ValueError, TypeError):
        return None
