"""JSON as checkpoints carry it, read strictly: no duplicate keys, no NaN, no surprise.

    table = read_table(path)

Python's reader keeps the last of two equal keys, and other readers keep the first: two
programs would then see two checkpoints in one file.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from recipes.formats.regular import read_regular

MAX_BYTES = 100 * 1000 * 1000


def loads(text: str | bytes, where: str) -> object:
    """Parse JSON ``text``; ``where`` names its source in errors.

    Raises ValueError for bad JSON, a key given twice, NaN, or nesting past the
    interpreter's limit.
    """
    try:
        value: object = json.loads(text, object_pairs_hook=_table, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected JSON, got {_short(error)}") from error
    return value


def loads_table(text: str | bytes, where: str) -> dict[str, object]:
    """Parse JSON ``text`` that must be a table. Raises ValueError otherwise."""
    value = loads(text, where)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a table, got {type(value).__name__}")
    return value


def read_table(path: Path) -> dict[str, object]:
    """Read the JSON table in file ``path``. Raises ValueError, which names the file."""
    try:
        return loads_table(read_regular(path, MAX_BYTES), path.name)
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from error


def table(data: Mapping[str, object], key: str, where: str) -> dict[str, object]:
    """Return the table under ``key``. Raises ValueError when there is none."""
    value = data.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {key}: expected a table, got {type(value).__name__}")
    return value


def strings(data: Mapping[str, object], key: str, where: str) -> list[str]:
    """Return the list of strings under ``key``. Raises ValueError when there is none."""
    value = data.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where}: {key}: expected a list of strings, got {type(value).__name__}")
    return [str(item) for item in value]


def dumps(data: object) -> str:
    """Return ``data`` as the JSON text that a release publishes: indented, keys sorted, no NaN."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def compact(data: object) -> bytes:
    """Return ``data`` as JSON without spaces, keys in the order given, UTF-8, no NaN."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"key {key!r} twice")
        result[key] = value
    return result


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name}, which is not JSON")


def _short(error: BaseException) -> str:
    return str(error)[:200] or type(error).__name__
