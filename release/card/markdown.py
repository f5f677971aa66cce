r"""What may be inserted into a card, and how other people's words are made safe for it.

A recipe's own words are refused when they would break the Markdown around them; words that
a step wrote into evidence are escaped, because a long measurement must not fail on them.

Example::

    escape("a | b")        # r"a \| b"
    check(context)         # raises ConfigError: "title: a line break in 'a\nb'"
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from release.errors import ConfigError

_UNESCAPED = r"(?<!\\)(?:\\\\)*"
_BREAKING = (
    ("a backtick", re.compile(_UNESCAPED + "`")),
    ("a pipe", re.compile(_UNESCAPED + r"\|")),
    ("HTML", re.compile(_UNESCAPED + r"<[A-Za-z/!?]")),
)
PROSE = (
    "reasoning",
    "sampling_notes",
    "serve_notes",
    "nvfp4_serve_notes",
    "performance_notes",
    "uses",
    "limits",
    "statements",
)
"""Lists of sentences: they may hold code spans, since no template puts one inside another."""

OPTIONAL = ("hub", "url", "data_note", "quantization", "unit", "arxiv", "license")
"""Fields that a card may leave empty."""

_CODE = re.compile(r"`[^`|<]+`")
_SPECIAL = re.compile(r"([\\`*_\[\]<|])")


def problem(text: str, *, prose: bool = False) -> str | None:
    """Name what in ``text`` would break the Markdown around it, or None when nothing would.

    ``prose`` may hold code spans, closed ones.
    """
    if not text.strip():
        return "nothing"
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs"):
            return "a line break" if character in "\n\r\x0b\x0c\x85\u2028\u2029" else "a control character"
    if prose:
        text = _CODE.sub("", text)
    return next((name for name, pattern in _BREAKING if pattern.search(text)), None)


def escape(text: str) -> str:
    """Return ``text`` on one line, showing exactly its own characters in Markdown."""
    visible = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    kept = "".join(c for c in visible if unicodedata.category(c) not in ("Cf", "Cs"))
    return _SPECIAL.sub(r"\\\1", " ".join(kept.split())) or "-"


def check(value: object, at: str = "") -> None:
    """Refuse a value that holds text which would break a card. Raises ConfigError naming it."""
    for path, text in _texts(value, at):
        found = problem(text, prose=path.rpartition(".")[2].partition("[")[0] in PROSE)
        if found and (text or path.rpartition(".")[2] not in OPTIONAL):
            raise ConfigError(
                f"{path}: {found} in {text[:80]!r}",
                why="Every value on the card stands inside Markdown that it must not break.",
                hint=f"write {path} as one line of plain words",
            )


def _texts(value: object, at: str) -> Iterator[tuple[str, str]]:
    """Yield every text inside ``value`` with its dotted path."""
    if isinstance(value, str):
        yield at, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _texts(getattr(value, field.name), f"{at}.{field.name}" if at else field.name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key, f"{at} key")
            yield from _texts(item, f"{at}.{key}")
    elif isinstance(value, tuple | frozenset):
        for index, item in enumerate(value):
            yield from _texts(item, f"{at}[{index}]")
