"""Seals: a finished release is found finished again by one look at the files it stands on.

A seal holds the stamp (size, mtime_ns, inode) of every file that a release was decided on:
recipe, lock, sources, images, the code of host and steps, the tool that installs wheels, its
results in the store, what readers see on the Hub; and the machine's mark. While all of them
stand as they were, the answer is the one of last time. In any other case the answer is found
the whole way: plan, keys, checks. A seal decides nothing else, and may be deleted at any time.

Everything here is stdlib and light: a no-op pays for this module and for the launcher.
"""

import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from release import machine

FORMAT = 1
IGNORED = "__pycache__"
FRESH_NS = 50_000_000
"""A file written this soon before the look may be written again under the same mtime."""

Stamps = dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which release is asked for: the same words in the same place."""

    project: Path
    recipe: str
    version: str
    engine: str
    hub: Path
    namespace: str = ""

    def file(self, store: Path) -> Path:
        """Return where the seal of this release lies; another interpreter has another one."""
        words = [str(self.project), self.recipe, os.path.abspath(self.recipe)]  # noqa: PTH100
        words += [self.version, self.engine, str(self.hub), self.namespace, sys.prefix, sys.version]
        return store / "cache" / "seals" / f"{sha256(json.dumps(words).encode()).hexdigest()[:32]}.json"


def look(paths: Iterable[Path]) -> Stamps:
    """Return the stamp of every file at or below ``paths``; a path that is not there has none."""
    found: Stamps = {}
    for path in paths:
        _look(str(path), found)
    return found


def settled(stamps: Stamps, now_ns: int) -> bool:
    """Tell whether the next write to each file will show in its stamp."""
    return all(not 0 <= now_ns - stamp[1] < FRESH_NS for stamp in stamps.values())


def dump(inputs: Iterable[Path], stamps: Stamps, results: Iterable[Path], said: str) -> bytes:
    """Return the bytes of a seal.

    ``stamps`` are those of ``inputs`` from before anything was read; ``results`` stand at
    the end. ``said`` is what the release prints when nothing has changed.
    """
    seal = {
        "format": FORMAT,
        "machine": machine.mark(),
        "inputs": [str(path) for path in inputs],
        "stamps": stamps,
        "results": look(results),
        "said": said,
    }
    return json.dumps(seal).encode()


def standing(question: Question, store: Path) -> str | None:
    """Return what to say when everything stands as it was sealed, else None."""
    try:
        seal = json.loads(question.file(store).read_bytes())
    except (OSError, ValueError):
        return None
    match seal:
        case {
            "format": 1,
            "machine": str(mark),
            "inputs": [*inputs],
            "stamps": dict(stamps),
            "results": dict(results),
            "said": str(said),
        }:
            same = mark == machine.mark() and _stand(results) and look(map(Path, inputs)) == stamps
            return said if same else None
    return None


def _stand(results: Mapping[str, list[int]]) -> bool:
    try:
        return all(_stamp(os.stat(path)) == stamp for path, stamp in results.items())  # noqa: PTH116
    except OSError:
        return False


def _look(path: str, found: Stamps) -> None:
    try:
        status = os.stat(path)  # noqa: PTH116 (hundreds of files at each release)
    except OSError:
        return
    if not stat.S_ISDIR(status.st_mode):
        found[path] = _stamp(status)
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name != IGNORED:
                _look(entry.path, found)


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ino]
