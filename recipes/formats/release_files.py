"""Files of a published tree: which of them would run code on the machine that loads them.

flaws = code_in(folder)     # ["modeling.py: Python code", ...]; empty for a clean tree
"""

import json
from collections.abc import Iterator
from pathlib import Path

from recipes.formats.regular import read_regular
from recipes.formats.strict_json import MAX_BYTES

TEMPLATE_FILE = "chat_template.jinja"

FOR_PEOPLE = ("serve/serve.sh", "serve/watchdog.sh")
"""Shell that a reader starts on purpose: nothing that loads a model runs it."""

_CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".exe")
_PICKLES = (".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")
_AUTO_MAP = "auto_map"


def code_in(folder: Path) -> Iterator[str]:
    """Yield what in ``folder`` could run code when loaded, as ``path: reason``.

    Code files, pickles (by their endings, which loaders go by), and configs whose
    ``auto_map`` asks a loader to fetch code; a JSON file that cannot be read counts too.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        suffix = path.suffix.lower()
        if name in FOR_PEOPLE:
            continue
        if suffix in _CODE:
            yield f"{name}: code"
        elif suffix in _PICKLES:
            yield f"{name}: a pickle"
        elif suffix == ".json" and (reason := _reason(path)):
            yield f"{name}: {reason}"


def _reason(path: Path) -> str:
    try:
        data = json.loads(read_regular(path, MAX_BYTES))
    except (ValueError, RecursionError, OSError):
        return "no JSON that can be read"
    return _AUTO_MAP if _asks_for_code(data) else ""


def _asks_for_code(data: object) -> bool:
    """Whether a table with ``auto_map`` lies anywhere but in a vocabulary's token → id map."""
    waiting = [data]
    while waiting:
        match waiting.pop():
            case {"auto_map": dict() | list() | str()}:
                return True
            case dict(table):
                waiting.extend(table.values())
            case list(items):
                waiting.extend(items)
    return False
