"""Typed reading of a step's parameters, key by key; what is left over is refused.

table = Table("params.json", params)
table.count("startup_timeout_s")
table.finish()
"""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class Table:
    """One table of the parameters. Every method raises ValueError with key, expected and got."""

    def __init__(self, name: str, data: Mapping[str, object]) -> None:
        self._name = name
        self._rest = dict(data)

    def count(self, key: str, at_least: int = 1) -> int:
        """Take an integer that is not below ``at_least``."""
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise self.wrong(key, f"an integer of at least {at_least}", value)
        return value

    def number(self, key: str) -> float:
        """Take an integer or a float."""
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number", value)
        return float(value)

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self._rest.pop(key, None)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def optional_text(self, key: str) -> str | None:
        """Take a string; None where it is missing or empty."""
        # TOML has no null: a recipe says "" or leaves the key out.
        value = self._rest.pop(key, None) or None
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "a string", value)
        return value

    def optional_texts(self, key: str) -> tuple[str, ...]:
        """Take a list of strings, which may be missing."""
        value = self._rest.pop(key, None) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of strings", value)
        return tuple(value)

    def optional_flag(self, key: str, default: bool) -> bool:
        """Take true or false, which may be missing."""
        return self.flag(key) if self._rest.get(key) is not None else self._drop(key, default)

    def optional_number(self, key: str) -> float | None:
        """Take a number, which may be missing."""
        return self.number(key) if self._rest.get(key) is not None else self._drop(key, None)

    def optional_count(self, key: str, default: int) -> int:
        """Take an integer that is not below 0, which may be missing."""
        return self.count(key, 0) if self._rest.get(key) is not None else self._drop(key, default)

    def strings(self, key: str) -> dict[str, str]:
        """Take a table of strings, which may be missing."""
        value = self._rest.pop(key, None) or {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self.wrong(key, "a table of strings", value)
        return dict(value)

    def table(self, key: str) -> "Table":
        """Take a table."""
        value = self._rest.pop(key, None)
        if not isinstance(value, dict):
            raise self.wrong(key, "a table", value)
        return Table(f"{self._name}: {key}", value)

    def optional_table(self, key: str) -> "Table | None":
        """Take a table, which may be missing; an empty one is there."""
        return self.table(key) if self._rest.get(key) is not None else self._drop(key, None)

    def numbers(self, key: str) -> tuple[float, ...]:
        """Take a list of numbers with at least one in it."""
        value = self._rest.pop(key, None)
        if not isinstance(value, list) or not value:
            raise self.wrong(key, "a list of numbers, not empty", value)
        return tuple(Table(f"{self._name}: {key}", {"item": item}).number("item") for item in value)

    def tables(self, key: str) -> list["Table"]:
        """Take a list of tables with at least one in it."""
        value = self._rest.pop(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, "a list of tables, not empty", value)
        return [Table(f"{self._name}: {key}[{i}]", item) for i, item in enumerate(value)]

    def finish(self) -> None:
        """Refuse what nobody took."""
        if self._rest:
            unknown = ", ".join(sorted(self._rest))
            raise ValueError(f"{self._name}: unknown key: {unknown}; correct it in recipe.toml")

    def wrong(self, key: str, expected: str, got: object) -> ValueError:
        """Return the error for ``key`` in the one form."""
        return ValueError(f"{self._name}: {key}: expected {expected}, got {got!r}")

    def _drop(self, key: str, default: T) -> T:
        self._rest.pop(key, None)
        return default
