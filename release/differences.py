"""What differs between two derivations, in words that name the file or the value (pure).

Example::

    inputs.prompts: b81f7be3c0aa → 5d0e71d1f2b4
        prompts.jsonl changed
    params.gates[acceptance-length].at_least: 2.5 → 2.6
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from release.digest import Json, Tree, canonical_json
from release.store.manifests import Manifest

ManifestOf: TypeAlias = Callable[[str], Manifest | None]
"""Returns what a digest of a derivation was taken from, where that is known."""

SHORT = 12
LONGEST = 100
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field: its path, its value before and after as people read it, and the files behind it."""

    field: str
    before: str
    after: str
    files: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The field with what is most telling: its files, or else its values."""
        if self.files:
            more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
            return f"{self.field} ({self.files[0]}{more})"
        return self.field

    def to_json(self) -> dict[str, Json]:
        """Return the fields as plain JSON values."""
        return {"field": self.field, "before": self.before, "after": self.after, "files": list(self.files)}


def differences(
    old: Mapping[str, object], new: Mapping[str, object], manifest_of: ManifestOf
) -> tuple[Difference, ...]:
    """Return each field in which two derivations (as JSON) differ, sorted by path."""
    return tuple(
        Difference(
            field=field, before=_word(a), after=_word(b), files=tuple(_files(field, a, b, manifest_of))
        )
        for field, a, b in _walk("", old, new)
    )


def changed_files(old: Tree, new: Tree) -> Iterator[str]:
    """Yield a sentence for each path that two trees do not have in common, sorted."""
    for path in sorted({*old.files, *new.files}):
        before, after = old.files.get(path), new.files.get(path)
        if before is None:
            yield f"{path} added"
        elif after is None:
            yield f"{path} removed"
        elif before != after:
            yield f"{path} changed"


def _walk(path: str, a: object, b: object) -> Iterator[tuple[str, object, object]]:
    match a, b:
        case dict(), dict():
            for name in sorted({*a, *b}):
                inner = f"{path}.{name}" if path else str(name)
                yield from _walk(inner, a.get(name, _Absent), b.get(name, _Absent))
        case list(), list():
            yield from _walk_rows(path, _rows(a), _rows(b))
        case _ if not _same(a, b):
            yield path, a, b


def _walk_rows(
    path: str, a: Mapping[str, object], b: Mapping[str, object]
) -> Iterator[tuple[str, object, object]]:
    if [name for name in a if name in b] != [name for name in b if name in a]:
        yield f"{path} (order)", list(a), list(b)
    for name in dict.fromkeys((*a, *b)):
        yield from _walk(f"{path}[{name}]", a.get(name, _Absent), b.get(name, _Absent))


def _rows(rows: list[object]) -> dict[str, object]:
    """Return rows by their own name where each has one, so that an added row shifts no other."""
    names = [row.get("name") if isinstance(row, dict) else None for row in rows]
    named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return {str(names[index]) if named else str(index): row for index, row in enumerate(rows)}


def _same(a: object, b: object) -> bool:
    """Tell whether two values are one text in a key: 1 and 1.0 are two."""
    if _Absent in (a, b):
        return a is b
    return canonical_json(a) == canonical_json(b)


class _Absent:
    """Stands for a field that one of the two does not have: None is a value."""


def _word(value: object) -> str:
    if value is _Absent:
        return NOTHING
    text = value if isinstance(value, str) else canonical_json(value).decode()
    text = DIGEST.sub(lambda found: found.group()[:SHORT], text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _files(field: str, a: object, b: object, manifest_of: ManifestOf) -> Iterator[str]:
    if not (field in ("code", "image") or field.startswith("inputs.")):
        return
    old, new = (manifest_of(digest) if isinstance(digest, str) else None for digest in (a, b))
    if old is None or new is None:
        return
    yield from changed_files(old.files, new.files)
    for name in sorted({*old.facts, *new.facts}):
        before, after = old.facts.get(name, NOTHING), new.facts.get(name, NOTHING)
        if before != after and not DIGEST.fullmatch(after):
            yield f"{name} {before} → {after}"
