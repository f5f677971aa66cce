"""Typed reading of a step's parameters, key by key; what is left over is refused.

table = Table("params.json", params)
table.count("startup_timeout_s")
table.finish()
"""

from collections.abc import Mapping

from recipes.formats.step import Exit, StepError


class Table:
    """One table of the parameters. Every method raises StepError with key, expected and got."""

    def __init__(self, name: str, data: Mapping[str, object]) -> None:
        self._name = name
        self._rest = dict(data)

    def count(self, key: str, at_least: int = 1) -> int:
        """Take an integer that is not below ``at_least``."""
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise self._wrong(key, f"an integer of at least {at_least}", value)
        return value

    def number(self, key: str) -> float:
        """Take an integer or a float."""
        value = self._rest.pop(key, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        return float(value)

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self._rest.pop(key, None)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def optional_text(self, key: str) -> str | None:
        """Take a string; None where it is missing or empty."""
        # TOML has no null: a recipe says "" or leaves the key out.
        value = self._rest.pop(key, None) or None
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def optional_texts(self, key: str) -> tuple[str, ...]:
        """Take a list of strings, which may be missing."""
        value = self._rest.pop(key, None) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings", value)
        return tuple(value)

    def table(self, key: str) -> "Table":
        """Take a table."""
        value = self._rest.pop(key, None)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table", value)
        return Table(f"{self._name}: {key}", value)

    def tables(self, key: str) -> list["Table"]:
        """Take a list of tables with at least one in it."""
        value = self._rest.pop(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, "a list of tables, not empty", value)
        return [Table(f"{self._name}: {key}[{i}]", item) for i, item in enumerate(value)]

    def finish(self) -> None:
        """Refuse what nobody took."""
        if self._rest:
            unknown = ", ".join(sorted(self._rest))
            raise StepError(f"{self._name}: unknown key: {unknown}; correct it in recipe.toml", Exit.CONFIG)

    def _wrong(self, key: str, expected: str, got: object) -> StepError:
        return StepError(f"{self._name}: {key}: expected {expected}, got {got!r}", Exit.CONFIG)
