"""The journal of a publish on a folder Hub: what was going to be written, while it is written.

    {"format": 1, "version": "1.0.0", "repos": {"owner/name": "<tree digest>", ...}}

It stands from before the first byte until both names stand, so that the next publish knows
whether staged bytes are the ones it means.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from release.store import durable

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """One publish that is going on, or was interrupted."""

    version: str
    repos: tuple[tuple[str, str], ...]

    def digest(self, repo: str) -> str | None:
        """Return the digest of the tree that was being written to ``repo``."""
        return dict(self.repos).get(repo)


def read(file: Path) -> Journal | None:
    """Return the journal, or None when there is none or it was cut short."""
    try:
        data = json.loads(file.read_text())
        if data["format"] != FORMAT:
            return None
        return Journal(version=data["version"], repos=tuple(sorted(data["repos"].items())))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(file: Path, journal: Journal) -> None:
    """Write the journal so that it survives a power cut."""
    data = {"format": FORMAT, "version": journal.version, "repos": dict(journal.repos)}
    durable.write(file, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())


def close(file: Path) -> None:
    """Remove the journal: everything it announced stands."""
    durable.remove(file)
    durable.sync_folder(file.parent)
