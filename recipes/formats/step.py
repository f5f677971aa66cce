"""The work folder of a step: the only things a step may know of the world.

    DIR/in/<name>/...    read-only inputs, one folder each
    DIR/params.json      the step's parameters
    DIR/out/             what the step writes
    DIR/state/           survives a kill; the next try of the same step finds it

A step never links or copies an input. It writes new bytes to ``out/`` and lists
every path of its result in ``out/tree.json``: new, or taken from an input.

Example::

    def main(work: Workdir) -> None:
        work.take("body", "model-00001-of-00002.safetensors")
        work.new("config.json").write_text("{}")

    if __name__ == "__main__":
        run(main)
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from recipes.formats import progress

TREE_FILE = "tree.json"
TREE_FORMAT = 1


class Exit(IntEnum):
    """Exit codes a step shares with the host's error classes."""

    CONFIG = 3
    BUILD = 5
    PROOF = 6
    ENVIRONMENT = 10


class StepError(Exception):
    """A step's failure in words for the person who runs the release.

    The message says what happened, why it matters and what to do next.
    """

    def __init__(self, message: str, code: Exit = Exit.BUILD) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Taken:
    """A path of the result whose bytes are those of an input's file."""

    input: str
    path: str


@dataclass(slots=True)
class Workdir:
    """One step's folder and the result it is putting together."""

    root: Path
    params: Mapping[str, object] = field(default_factory=dict)
    _result: dict[str, Taken | None] = field(default_factory=dict)

    def input(self, name: str) -> Path:
        """Return the read-only folder of input ``name``."""
        return self.root / "in" / name

    @property
    def state(self) -> Path:
        """The folder that survives a kill of this step."""
        return self.root / "state"

    def new(self, path: str) -> Path:
        """Declare a new file of the result and return where to write it."""
        self._declare(path, None)
        target = self.root / "out" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def take(self, name: str, path: str, as_path: str | None = None) -> None:
        """Declare that ``as_path`` of the result is ``path`` of input ``name``."""
        self._declare(as_path or path, Taken(name, path))

    def take_all(self, name: str, paths: Iterable[str]) -> None:
        """Take several files of one input under their own paths."""
        for path in paths:
            self.take(name, path)

    def param(self, name: str, kind: type) -> object:
        """Return parameter ``name``, checked to be a ``kind``.

        Raises StepError when it is missing or of another type.
        """
        if name not in self.params or not isinstance(self.params[name], kind):
            got = type(self.params.get(name)).__name__
            raise StepError(f"params.json: {name}: expected {kind.__name__}, got {got}", Exit.CONFIG)
        return self.params[name]

    def finish(self) -> None:
        """Write ``out/tree.json``; the host builds the result from it."""
        files = {
            path: None if taken is None else {"input": taken.input, "path": taken.path}
            for path, taken in sorted(self._result.items())
        }
        text = json.dumps({"format": TREE_FORMAT, "files": files}, indent=1, sort_keys=True)
        (self.root / "out" / TREE_FILE).write_text(text + "\n")

    def _declare(self, path: str, taken: Taken | None) -> None:
        if path in self._result:
            raise StepError(f"{path} is declared twice in the result")
        self._result[path] = taken


def parse_tree(text: str) -> dict[str, Taken | None]:
    """Parse ``tree.json``: path → None (new bytes) or the input's file it is.

    Raises ValueError with what was expected and what was found.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("format") != TREE_FORMAT:
        raise ValueError(f"{TREE_FILE}: expected format {TREE_FORMAT}")
    files = data.get("files")
    if not isinstance(files, dict):
        raise ValueError(f"{TREE_FILE}: files: expected a table, got {type(files).__name__}")
    result: dict[str, Taken | None] = {}
    for path, entry in files.items():
        match entry:
            case None:
                result[path] = None
            case {"input": str(name), "path": str(source)}:
                result[path] = Taken(name, source)
            case _:
                raise ValueError(f"{TREE_FILE}: {path}: expected null or input and path")
    return result


def run(main: Callable[[Workdir], None]) -> None:
    """Run ``main`` on the folder named by ``--root`` and exit.

    File descriptor 1 is taken for progress; whatever else prints goes to the log.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the step's work folder")
    root: Path = parser.parse_args().root
    progress.take_stdout()
    work = Workdir(root, json.loads((root / "params.json").read_text()))
    try:
        main(work)
    except StepError as error:
        progress.error(str(error))
        sys.exit(int(error.code))
    work.finish()
