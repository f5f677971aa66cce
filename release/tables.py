"""Typed reading of the TOML files that people write.

Every error says file, key, what was expected and what was found; a key that nobody
reads is refused, so that a typing error cannot pass as a default.

Example::

    table = read(Path("recipe.toml"))
    name = table.take("name", str)
    with_defaults = table.take("seed", int, 0)
    table.done()
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast, overload

from release.digest import Json
from release.errors import ConfigError

T = TypeVar("T")

_REQUIRED = object()


class Table:
    """One TOML table, read key by key."""

    def __init__(self, file: Path, data: Mapping[str, Json], at: str = "") -> None:
        self.file = file
        self.at = at
        self._left = dict(data)

    @overload
    def take(self, key: str, kind: type[T]) -> T: ...
    @overload
    def take(self, key: str, kind: type[T], default: T) -> T: ...

    def take(self, key: str, kind: type[T], default: object = _REQUIRED) -> T:
        """Return the value of ``key``, which must be a ``kind`` (an int is also a float)."""
        if key not in self._left:
            if default is _REQUIRED:
                raise self.error(key, kind.__name__, "nothing")
            return cast(T, default)
        value: object = self._left.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self.error(key, kind.__name__, f"{type(value).__name__} {value!r}"[:80])
        return value

    def take_strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self.take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "a list of strings", repr(values)[:80])
        return tuple(values)

    def take_table(self, key: str, *, optional: bool = False) -> "Table":
        """Return the sub-table ``key``; empty when it is optional and absent."""
        data = self.take(key, dict, {}) if optional else self.take(key, dict)
        return Table(self.file, data, self._path(key))

    def take_tables(self, key: str) -> "dict[str, Table]":
        """Return a table of tables by name."""
        named = self.take_table(key)
        return {name: named.take_table(name) for name in list(named.keys())}

    def take_rows(self, key: str, parse: "Callable[[Table], T]") -> tuple[T, ...]:
        """Parse each table of the array ``[[key]]``."""
        rows = self.take(key, list, [])
        parsed = []
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                raise self.error(f"{key}[{index}]", "a table", type(row).__name__)
            table = Table(self.file, row, f"{self._path(key)}[{index}]")
            parsed.append(parse(table))
            table.done()
        return tuple(parsed)

    def take_rest(self) -> dict[str, Json]:
        """Return what is left, for a table whose keys are checked where they are used."""
        rest, self._left = self._left, {}
        return rest

    def keys(self) -> tuple[str, ...]:
        """Return the keys not read yet."""
        return tuple(self._left)

    def done(self) -> None:
        """Refuse keys that were not read."""
        if self._left:
            key = next(iter(self._left))
            raise self.error(key, "no such key here", f"{self._path(key)}")

    def error(self, key: str, expected: str, got: str) -> ConfigError:
        """Return the error for ``key`` in the project's one form."""
        return ConfigError(f"{self.file}: {self._path(key)}: expected {expected}, got {got}")

    def _path(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key


def read(file: Path) -> Table:
    """Read a TOML file. Raises ConfigError when it is missing or malformed."""
    try:
        data = tomllib.loads(file.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected TOML, got: {error}") from error
    return Table(file, data)


def expect_format(table: Table, number: int) -> None:
    """Refuse a file of another format number."""
    found = table.take("format", int)
    if found != number:
        raise table.error("format", str(number), str(found))
