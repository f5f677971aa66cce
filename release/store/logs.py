"""Logs: what a step printed when it ran, and which run of a step was the last.

    logs/<key8>-<step>.log    of one run; a new try of the same key writes it anew
    logs/last/<line>/<step>   the key of the last run, written before it starts

Nothing here is part of a key.
"""

from dataclasses import dataclass
from pathlib import Path

from release.store import durable

LAST = "last"


@dataclass(frozen=True, slots=True)
class Logs:
    """The folder of logs."""

    folder: Path

    def path(self, key: str, step: str) -> Path:
        """Return where the run of ``key`` prints to."""
        return self.folder / f"{key[:8]}-{step}.log"

    def start(self, line: str, step: str, key: str) -> Path:
        """Remember the run of ``key`` as the last of ``step``; return where it prints to."""
        path = self.path(key, step)
        durable.make_folder(path.parent)
        durable.remove(path)
        durable.write(self.folder / LAST / line / step, key.encode())
        return path

    def last(self, line: str, step: str) -> str | None:
        """Return the key of the last run of ``step`` in ``line``, finished or not."""
        try:
            return (self.folder / LAST / line / step).read_text()
        except FileNotFoundError:
            return None

    def steps(self, line: str) -> tuple[str, ...]:
        """Return the steps of ``line`` that ran in this store."""
        folder = self.folder / LAST / line
        return tuple(sorted(p.name for p in folder.glob("[!.]*"))) if folder.is_dir() else ()

    def lasts(self) -> frozenset[str]:
        """Return the file names of all last runs."""
        return frozenset(
            self.path(pointer.read_text(), pointer.name).name
            for pointer in (self.folder / LAST).glob("*/[!.]*")
        )
