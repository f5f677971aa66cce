"""What the doctor says: one line a subject, each with what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from release.digest import Json
from release.report.terminal import rows_table

if TYPE_CHECKING:
    from rich.table import Table


class State(Enum):
    """How a subject stands: a release runs, runs with less than it could have, or cannot run."""

    GOOD = "good"
    WEAK = "weak"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One subject: what was found, and what to type where that is not good."""

    name: str
    state: State
    found: str
    hint: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the finding as plain JSON values."""
        return {"name": self.name, "state": self.state.value, "found": self.found, "hint": self.hint}


def good(name: str, found: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(name=name, state=State.GOOD, found=found)


def weak(name: str, found: str, hint: str) -> Finding:
    """Return a finding with which a release still runs."""
    return Finding(name=name, state=State.WEAK, found=found, hint=hint)


def bad(name: str, found: str, hint: str) -> Finding:
    """Return a finding that stops a release."""
    return Finding(name=name, state=State.BAD, found=found, hint=hint)


def unknown(name: str, found: str, hint: str = "") -> Finding:
    """Return a finding that says that nothing was found out."""
    return Finding(name=name, state=State.UNKNOWN, found=found, hint=hint)


MARKS = {
    State.GOOD: ("✓", "green"),
    State.WEAK: ("!", "yellow"),
    State.BAD: ("✗", "red"),
    State.UNKNOWN: ("?", "dim"),
}


def table(title: str, found: Sequence[Finding]) -> "Table":
    """Return findings as a table: a mark, the subject, what was found, what to do."""
    from rich.text import Text

    rows = [(Text(*MARKS[one.state]), one.name, one.found, one.hint) for one in found]
    return rows_table(title, ("", "subject", "found", "what to do"), rows)
