"""The code of a step: the static import closure of its package.

What is mounted into a step is what is hashed into its key. The closure holds the
project files that ``recipes.steps.<name>.main`` reaches by plain imports, and a
``__main__.py`` that runs it. Dynamic imports are refused: they would be invisible here.
"""

import ast
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from release.digest import File, Tree, sha256_bytes
from release.errors import ConfigError, MachineError
from release.store import durable
from release.store.stat_cache import StatCache

PACKAGE = "recipes"
DYNAMIC = frozenset({"importlib", "runpy", "pkgutil", "imp"})

MAIN_FILE = "__main__.py"
MAIN = """\
from recipes.formats.step import run
from recipes.steps.{step}.main import main

run(main)
"""


@dataclass(frozen=True, slots=True)
class Code:
    """A step's files by path below its code folder."""

    files: Mapping[str, bytes]

    @property
    def tree(self) -> Tree:
        """The tree of these files; its digest stands in the step's key."""
        return Tree({path: File(sha256_bytes(data), len(data)) for path, data in self.files.items()})

    def write(self, folder: Path) -> None:
        """Write the files below ``folder``."""
        for path, data in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


class Imports:
    """What each file imports, by the file's digest: a file that stands as it was is not parsed.

    Kept with the digest of this module, because what counts as an import is decided here.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by = sha256_bytes(Path(__file__).read_bytes())
        self._known = self._load()
        self._dirty = False

    def of(self, sha256: str, path: Path) -> tuple[str, ...]:
        """Return what the file at ``path`` with this digest may import."""
        if sha256 not in self._known:
            self._known[sha256] = list(_read(path)[1])
            self._dirty = True
        return tuple(self._known[sha256])

    def save(self) -> None:
        """Write the cache when it has something new. One that cannot be written is only slower."""
        if self._dirty:
            with suppress(OSError, MachineError):
                durable.write(self._file, json.dumps({"by": self._by, "imports": self._known}).encode())

    def _load(self) -> dict[str, list[str]]:
        try:
            data = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return data["imports"] if isinstance(data, dict) and data.get("by") == self._by else {}


def of_step(root: Path, step: str) -> Code:
    """Return the code of ``recipes/steps/<step>`` of the project at ``root``.

    Raises ConfigError for a step that does not exist, a relative or dynamic import.
    """
    paths = _closure(root, step, _files(root), lambda path: _read(path)[1])
    return Code({MAIN_FILE: _main(step), **{path: _read(root / path)[0] for path in paths}})


def trees_of_steps(
    root: Path, steps: Iterable[str], cache: StatCache, imports: Imports
) -> Mapping[str, Tree]:
    """Return the tree of each step's code, reading no file that stands as it was.

    Raises what ``of_step`` raises.
    """

    def of(path: Path) -> tuple[str, ...]:
        return imports.of(cache.file(path).sha256, path)

    files = _files(root)
    trees = {}
    for step in steps:
        main = _main(step)
        found = {path: cache.file(root / path) for path in _closure(root, step, files, of)}
        trees[step] = Tree({MAIN_FILE: File(sha256_bytes(main), len(main)), **found})
    return trees


def _main(step: str) -> bytes:
    return MAIN.format(step=step).encode()


def _closure(
    root: Path, step: str, files: frozenset[str], imports_of: Callable[[Path], tuple[str, ...]]
) -> list[str]:
    """Return the project files that a step's package reaches by plain imports."""
    found: list[str] = []
    waiting = [f"{PACKAGE}.steps.{step}.main", f"{PACKAGE}.formats.step"]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _find(files, module)
        if path is None:
            raise ConfigError(f"step {step}: no module {module} in {root / PACKAGE}")
        found.append(path)
        waiting += _parents(module)
        waiting += [name for name in imports_of(root / path) if _find(files, name) is not None]
    return found


def _files(root: Path) -> frozenset[str]:
    """Return the modules of the project at ``root`` by relative path."""
    found = (
        os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 (a release does this every time)
        for folder, _, names in os.walk(root / PACKAGE)
        for name in names
        if name.endswith(".py")
    )
    return frozenset(found)


def _find(files: frozenset[str], module: str) -> str | None:
    """Return the path of a project module among ``files``, or None."""
    base = module.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if path in files:
            return path
    return None


def _parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:n]) for n in range(1, len(parts)))


@functools.cache
def _read(file: Path) -> tuple[bytes, tuple[str, ...]]:
    data = file.read_bytes()
    return data, tuple(_imports(file, ast.parse(data, str(file))))


def _imports(file: Path, module: ast.Module) -> Iterator[str]:
    """Yield the project modules that ``module`` may import by name."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(level=0, module=str(name), names=names):
                found = [name, *(f"{name}.{alias.name}" for alias in names)]
            case ast.ImportFrom():
                raise ConfigError(f"{file}:{node.lineno}: relative imports are not followed; name the module")
            case ast.Call(func=ast.Name(id="__import__")):
                raise ConfigError(f"{file}:{node.lineno}: dynamic imports cannot be hashed into a step's key")
            case _:
                continue
        for name in found:
            if name.split(".")[0] in DYNAMIC:
                raise ConfigError(f"{file}:{node.lineno}: {name}: dynamic imports cannot be hashed")
            if name.split(".")[0] == PACKAGE:
                yield name
