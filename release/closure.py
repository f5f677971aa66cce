"""The code of a step: the static import closure of its package.

What is mounted into a step is what is hashed into its key. The closure holds the
project files that ``recipes.steps.<name>.main`` reaches by plain imports, and a
``__main__.py`` that runs it. Dynamic imports are refused: they would be invisible here.
"""

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from release.digest import File, Tree, sha256_bytes
from release.errors import ConfigError

PACKAGE = "recipes"
DYNAMIC = frozenset({"importlib", "runpy", "pkgutil", "imp"})

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


def of_step(root: Path, step: str) -> Code:
    """Return the code of ``recipes/steps/<step>`` of the project at ``root``.

    Raises ConfigError for a step that does not exist, a relative or dynamic import.
    """
    files: dict[str, bytes] = {"__main__.py": MAIN.format(step=step).encode()}
    waiting = [f"{PACKAGE}.steps.{step}.main", f"{PACKAGE}.formats.step"]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _find(root, module)
        if path is None:
            raise ConfigError(f"step {step}: no module {module} in {root / PACKAGE}")
        data, imports = _read(root / path)
        files[path] = data
        waiting += _parents(module)
        waiting += [name for name in imports if _find(root, name) is not None]
    return Code(files)


def _find(root: Path, module: str) -> str | None:
    """Return the path of a project module below ``root``, or None."""
    base = module.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if (root / path).is_file():
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
