"""A lint: no number on a card is typed by hand.

A template's own text, and the texts inside its expressions, hold no digits but those of
names (``BF16``), of list items and of one formula. A figure comes from a value, or not at all.
"""

import re

import jinja2

from release.errors import ConfigError

NO_FIGURES = re.compile(
    r"""\b1\ \+\ accepted\ /\ drafts     # the definition of the acceptance length
    | \b(ENABLE_VISION|WATCHDOG)=[01]\b # a switch
    | ^\s*1\.\s                      # the first item of each list: Markdown counts on by itself
    """,
    re.VERBOSE | re.MULTILINE,
)
NUMBER = re.compile(r"(?<![\w$.-])\d[\w.]*")
"""Digits that are no part of a word, a name (``BF16``) or a shell's field (``$2``)."""

STRUCTURE = frozenset({"0", "1"})
"""Numbers that an expression may hold: a first item, one more."""


def refuse_typed(environment: jinja2.Environment, template: str, source: str) -> None:
    """Refuse a template with a number in it. Raises ConfigError with file, line and the number."""
    for line, kind, text in environment.lex(source):
        typed = _typed(kind, text)
        if typed is not None:
            at, number = typed
            raise ConfigError(
                f"templates/{template}:{line + at}: the number {number} is typed by hand",
                why="Every number on a card is measured, proved or counted.",
                hint="insert a value of the context, or say it without a number",
            )


def _typed(kind: str, text: str) -> tuple[int, str] | None:
    """Return the first number in a token, and how many lines below the token's start it stands."""
    if kind in ("integer", "float"):
        return None if text in STRUCTURE else (0, text)
    if kind not in ("data", "string"):
        return None
    rest = NO_FIGURES.sub(lambda found: "\n" * found.group().count("\n"), text)
    found = NUMBER.search(rest)
    return (rest.count("\n", 0, found.start()), found.group()) if found else None
