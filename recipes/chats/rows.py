"""Calibration rows: chats in ``calibration.jsonl``, rendered by the release's own template.

    {"id": "a1", "messages": [{"role": "user", "content": "..."}], "tools": [...], "thinking": true}

``tools`` and ``thinking`` may be left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.step import Exit, StepError

ROWS_FILE = "calibration.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One chat. ``thinking`` None leaves the template's default."""

    id: str
    messages: Sequence[Mapping[str, object]]
    tools: Sequence[Mapping[str, object]] | None
    thinking: bool | None

    @property
    def wants_reply(self) -> bool:
        """Whether the chat ends before the assistant's turn."""
        return self.messages[-1].get("role") != "assistant"


def read_rows(path: Path, count: int) -> list[Row]:
    """Read the first ``count`` rows of ``path``.

    Raises StepError when there are fewer, or when a row has another form.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(lines) < count:
        raise StepError(f"{path.name}: expected {count} rows, got {len(lines)}; lower samples", Exit.CONFIG)
    try:
        rows = [parse_row(line, f"{path.name}:{number}") for number, line in enumerate(lines[:count], 1)]
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error
    return rows


def parse_row(line: str, where: str) -> Row:
    """Parse one line of a file of chats. Raises ValueError naming ``where``."""
    data = strict_json.loads_table(line, where)
    name, messages = data.get("id"), _tables(data.get("messages"), f"{where}: messages")
    if not isinstance(name, str) or not messages:
        raise ValueError(f"{where}: expected an id and at least one message")
    tools = _tables(data.get("tools"), f"{where}: tools")
    return Row(id=name, messages=messages, tools=tools or None, thinking=_thinking(data, where))


def _thinking(data: Mapping[str, object], where: str) -> bool | None:
    thinking = data.get("thinking")
    if thinking is None or isinstance(thinking, bool):
        return thinking
    raise ValueError(f"{where}: thinking: expected true or false, got {thinking!r}")


def _tables(value: object, where: str) -> list[dict[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{where}: expected a list of tables, got {type(value).__name__}")
    return value
