"""What upkeep of the store found or freed, as lines and tables for a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from release.report.terminal import rows_table, size
from release.rerun import Compared
from release.store.gc import Collected, Kind
from release.store.verify import Flaw

USES = 12
"""Uses named under a flaw; the rest is counted."""

NAMED = (Kind.RELEASE, Kind.RESULT, Kind.ENVIRONMENT, Kind.IMAGE, Kind.COMPILED, Kind.SCRATCH)
"""Kinds whose pieces are named one by one."""


def flaw_lines(flaw: Flaw) -> Iterator[str]:
    """Yield a flaw, where it is used and what to type."""
    yield f"✗ {flaw.what}"
    for use in flaw.uses[:USES]:
        yield f"    {use}"
    if len(flaw.uses) > USES:
        yield f"    and {len(flaw.uses) - USES} more"
    if flaw.hint:
        yield f"  → {flaw.hint}"


def garbage_table(found: Collected) -> Table:
    """Return the garbage by kind: how many pieces, and what the disk gets back."""
    count = Counter(item.kind for item in found.garbage)
    rows = [(kind.value, str(count[kind]), size(found.bytes[kind])) for kind in Kind if count[kind]]
    return rows_table("garbage", ("what", "pieces", "frees"), rows)


def garbage_lines(found: Collected, root: Path, *, dry_run: bool) -> Iterator[str]:
    """Yield the pieces that have a name, and the total."""
    for item in found.garbage:
        if item.kind in NAMED:
            key = f" {item.digest[:8]}" if item.kind is Kind.RESULT else ""
            yield f"  {item.kind.value} {item.what}{key}"
    if not found.garbage:
        yield f"{root}: nothing to collect"
    elif dry_run:
        yield f"{root}: {size(found.total)} would be freed; nothing was removed"
    else:
        yield f"{root}: {size(found.total)} freed"


def wheels_line(folder: Path, nbytes: int) -> str:
    """Say what uv's cache of wheels takes, and how it is pruned: it is uv's own."""
    return f"{folder}: {size(nbytes)} of wheels; to prune it: uv cache prune --cache-dir {folder}"


def compared_table(step: str, found: Sequence[Compared]) -> Table:
    """Return how a step's second run compares with its result."""
    rows = [("✓" if one.holds else "✗", one.what, one.found) for one in found]
    return rows_table(f"{step}, built again", ("", "file or figure", "found"), rows)
