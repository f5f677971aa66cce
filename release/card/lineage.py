"""What prove found between base and master, in the two numbers that a card says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from release.card.markdown import escape
from release.errors import ConfigError

CHANGES = ("equal", "changed", "only_base", "only_master")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """How many tensors of the master are the base's. ``compared`` says how much of the base there was."""

    compared: str
    equal: int
    changed: int
    only_base: int
    only_master: int


def read_lineage(facts: Mapping[str, object]) -> Lineage | None:
    """Read ``facts.lineage`` of prove's evidence; None where nothing was compared.

    Raises ConfigError for a table of another form.
    """
    match facts.get("lineage"):
        case None:
            return None
        case {"compared": str(compared), "classes": dict(classes)}:
            sums = {name: sum(_count(counts, name) for counts in classes.values()) for name in CHANGES}
            return Lineage(compared=escape(compared), **sums)
    raise ConfigError("prove/evidence.json: facts.lineage: expected compared and classes")


def _count(counts: object, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    if type(value) is not int:
        raise ConfigError(f"prove/evidence.json: facts.lineage.classes: {name}: expected a number")
    return value
