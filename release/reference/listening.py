"""Which keys a recipe may have: found by listening to the code that reads one.

    keys = recipe_keys([Path("recipes/tiny"), Path("recipes/qwen3.6-27b-vlm-cascade")])
    keys["quantize.exporter"].kind                # "str"

Nobody keeps a second list. A key that its reader takes only where it is there is heard when one
of the given recipes has it; between them the project's own recipes have every key.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

from recipes.formats import params
from release import pipeline, recipe, tables
from release.card.facts import parse_facts
from release.gates.wanted import parse_gates

_METHODS = {
    "count": "int",
    "number": "float",
    "flag": "bool",
    "optional_text": "str",
    "optional_texts": "list",
    "optional_flag": "bool",
    "optional_number": "float",
    "optional_count": "int",
    "strings": "table",
    "numbers": "list",
}
_OF_A_LIST = "item"
_FILES = (".json", ".toml")
_INDEX = re.compile(r"\[\d+\]")
_BOTH_TREES = re.compile(r"^serve\.(nvfp4|master)")
_OPEN = ("card.changes.", "card.serve_env.")
"""Tables whose keys are the owner's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key: the kind of its value, and its default; None where it has to be there."""

    kind: str
    default: str | None


@dataclass(slots=True)
class _Ear:
    """What was heard: keys by path, and for each table that was read the keys that it was asked for."""

    keys: dict[str, Key] = field(default_factory=dict)
    asked: list[tuple[tables.Table, set[str]]] = field(default_factory=list)

    def note(self, table: tables.Table, key: str, kind: type, default: tuple[object, ...]) -> None:
        path = _INDEX.sub("[]", f"{table.at}.{key}" if table.at else key)
        path = _BOTH_TREES.sub("serve", path)
        profiles_own = table.file.parent == recipe.PROFILES
        if kind is dict or path.startswith(_OPEN) or profiles_own:
            return
        self.keys.setdefault(path, Key(kind=kind.__name__, default=_shown(default)))
        keys = next((keys for known, keys in self.asked if known is table), None)
        if keys is None:
            self.asked.append((table, keys := set()))
        keys.add(path)

    def optional(self, path: str) -> bool:
        """Tell whether some table of that place was read without being asked for this key."""
        parent = path.rpartition(".")[0]
        if not parent:
            return False  # gates are parsed from a table of their own, which has no other key
        there = [keys for table, keys in self.asked if _INDEX.sub("[]", table.at) == parent]
        return any(path not in keys for keys in there)


def recipe_keys(folders: Sequence[Path]) -> Mapping[str, Key]:
    """Return every key that is read from the recipes in ``folders``, by its path, in reading order."""
    ear = _Ear()
    for folder in folders:
        with _listening(ear):
            found = recipe.load(folder)
            parse_facts(found.card, "the lock's")
            parse_gates([dict(row) for row in found.gates], ("prove", *pipeline.measured(found)))
    return {
        path: replace(key, default="") if key.default is None and ear.optional(path) else key
        for path, key in ear.keys.items()
    }


@contextmanager
def _listening(ear: _Ear) -> Iterator[None]:
    take = tables.Table.take

    def taken(table: tables.Table, key: str, kind: type, *default: object) -> object:
        ear.note(table, key, kind, default)
        return take(table, key, kind, *default)

    with ExitStack() as stack:
        stack.enter_context(patch.object(tables.Table, "take", taken))
        for method, kind in _METHODS.items():
            stack.enter_context(patch.object(params.Table, method, _noted(method, kind, ear)))
        yield


def _noted(method: str, kind: str, ear: _Ear) -> Callable[..., object]:
    """Return the method of a step's table, listened to."""
    plain = getattr(params.Table, method)
    optional = method.startswith("optional") or method == "strings"

    def taken(table: params.Table, key: str, *args: object, **options: object) -> object:
        # "params.json: sanity: needle" is a table in a table of a file.
        tables = [part for part in str(vars(table)["_name"]).split(": ") if not part.endswith(_FILES)]
        place = _BOTH_TREES.sub("serve", ".".join(tables))
        given = (*args[:1], *(value for name, value in options.items() if name == "default"))
        default = (_shown(given) or "") if optional else None
        if key != _OF_A_LIST:
            ear.keys.setdefault(f"{place}.{key}", Key(kind=kind, default=default))
        return plain(table, key, *args, **options)

    return taken


def _shown(default: tuple[object, ...]) -> str | None:
    """Return a default in the words of TOML, "" for an empty one; None where there is none."""
    if not default:
        return None
    return json.dumps(default[0]) if isinstance(default[0], bool | int | float) else str(default[0] or "")
