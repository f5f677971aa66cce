"""What waits to be promoted: the trees of each version that was staged from this store.

    publishing/staged/<line>-v<version>.json
    {"assembled": {"assemble-master": "<tree>", …}, "trees": {"owner/name": "<tree>", …}}

The garbage collector keeps ``trees``: they hold signatures, which no build gives again.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release.store import durable


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Trees that were assembled, by step, and the trees by repo that were staged for them."""

    assembled: Mapping[str, str] = field(default_factory=dict)
    trees: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The notes of a store."""

    folder: Path

    def get(self, line: str, version: str) -> Note:
        """Return the note of a version; an empty one when there is none that reads."""
        return _read(self.folder / f"{_name(line, version)}.json")

    def put(self, line: str, version: str, note: Note) -> None:
        """Note a version in place of what was noted for it."""
        data = {"assembled": dict(note.assembled), "trees": dict(note.trees)}
        durable.make_folder(self.folder)
        text = json.dumps(data, indent=1, sort_keys=True)
        durable.write(self.folder / f"{_name(line, version)}.json", text.encode() + b"\n")

    def trees(self, *, without: Collection[tuple[str, str]]) -> Iterator[str]:
        """Yield the trees of all notes but those of the releases ``without``, as (line, version)."""
        gone = {_name(line, version) for line, version in without}
        for path in sorted(self.folder.glob("[!.]*.json")):
            if path.stem not in gone:
                yield from _read(path).trees.values()


def _name(line: str, version: str) -> str:
    return f"{line}-v{version}"


def _read(path: Path) -> Note:
    try:
        data = json.loads(path.read_text())
        names = ("assembled", "trees")
        assembled, trees = ({str(k): str(v) for k, v in data[name].items()} for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Note()
    return Note(assembled=assembled, trees=trees)
