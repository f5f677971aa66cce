"""What ``invoke prove`` found, as tables for people and as JSON for machines."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from recipes.formats.proofs.claim import Outcome, Status
from recipes.formats.proofs.ledger import Ledger, to_json
from recipes.formats.proofs.lineage import Lineage
from recipes.formats.proofs.proving import Proved
from recipes.formats.proofs.subject import NVFP4, Told
from release.report.terminal import rows_table, size

JSON_FORMAT = 1
# Of a log or a pipe, where no terminal says how wide it is: tensor names stay whole.
WIDTH = 160
_MARKS = {Status.HOLDS: "✓", Status.FAILS: "✗", Status.NOT_CHECKED: "-"}


def stdout() -> Console:
    """Return what tables are drawn on."""
    width = None if sys.stdout.isatty() else WIDTH
    return Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True, width=width)


@contextmanager
def bar(console: Console, *, shown: bool) -> Iterator[Told]:
    """Show how far the proofs are, on a terminal alone."""
    columns = (TextColumn("  {task.description}", markup=False), BarColumn(24), TimeElapsedColumn())
    hidden = not (shown and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("reading headers", total=None)

        def tell(at: str, done: int, total: int, unit: str) -> None:
            words = f"{at}: {size(done)} of {size(total)}" if total and unit == "B" else at
            progress.update(task, description=words, completed=done, total=total or None)

        yield tell


def print_json(path: str, proved: Proved, picture: Path) -> None:
    """Print everything as one JSON table."""
    table = {
        "format": JSON_FORMAT,
        "path": path,
        "picture": str(picture),
        "proofs": [
            {"name": o.name, "status": str(o.status), "compared": o.compared, "found": o.found}
            for o in proved.outcomes
        ],
        "ledger": to_json(proved.ledgers),
        "facts": dict(proved.facts),
    }
    sys.stdout.write(json.dumps(table, indent=1, sort_keys=True) + "\n")


def print_table(console: Console, path: str, proved: Proved, picture: Path) -> None:
    """Print ledger, lineage and proofs, and where the picture is."""
    for ledger in proved.ledgers:
        console.print(headline(path, ledger, proved), "", sep="\n")
        console.print(_ledger_table(ledger), "", sep="\n")
    if proved.lineage:
        console.print(_lineage_table(proved.lineage), "", sep="\n")
    console.print(_proofs_table(proved.outcomes), "", sep="\n")
    for line in _closing(proved):
        console.print(line)
    console.print(f"picture of the bytes: {picture}")


def headline(path: str, ledger: Ledger, proved: Proved) -> str:
    """Return what a tree is, in one line."""
    totals = ledger.totals
    what = f"{proved.facts['quantized_linears']} Linears NVFP4" if ledger.name == NVFP4 else "BF16"
    return (
        f"{path}: {what}, {totals.tensors} tensors in {ledger.shards} shards, "
        f"{size(totals.bytes)}, {totals.parameters:,} parameters"
    )


def _ledger_table(ledger: Ledger) -> Table:
    lines = {**ledger.classes, "total": ledger.totals}
    rows = [
        (kind, str(line.tensors), f"{line.parameters:,}", f"{line.bytes:,}", _parts(line.parts))
        for kind, line in lines.items()
    ]
    implied = ledger.implied
    rows.append(("config implies", str(implied.tensors), f"{implied.parameters:,}", f"{implied.bytes:,}", ""))
    rows.append(("headers", "", "", f"{ledger.headers:,}", ""))
    rows.append(("other files", "", "", f"{ledger.other:,}", ""))
    return rows_table("ledger", ("class", "tensors", "parameters", "bytes", "what they are"), rows)


def _parts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{part.replace('_', ' ')} {size(count)}" for part, count in sorted(parts.items()))


def _lineage_table(lineage: Lineage) -> Table:
    rows = [
        (kind, *(str(number or "") for number in change.to_json().values()))
        for kind, change in lineage.classes.items()
    ]
    columns = ("class", "equal", "changed", "only in base", "only in master")
    return rows_table(f"lineage: {lineage.scope}, and of the master", columns, rows)


def _proofs_table(outcomes: tuple[Outcome, ...]) -> Table:
    rows = [
        (
            _MARKS[outcome.status],
            outcome.name,
            f"not checked: {outcome.found}" if outcome.status is Status.NOT_CHECKED else outcome.found,
        )
        for outcome in outcomes
    ]
    return rows_table("proofs", ("", "proof", "found"), rows)


def _closing(proved: Proved) -> Iterator[str]:
    lists = proved.facts.get("shortest_ignore_lists")
    for engine, patterns in (lists if isinstance(lists, dict) else {}).items():
        yield f"shortest ignore list for {engine}: {json.dumps(patterns)}"
    numbers = [f"{len(proved.of(status))} {words}" for status, words in _COUNTED.items()]
    yield f"{len(proved.outcomes)} claims: {', '.join(numbers)}"


_COUNTED = {Status.HOLDS: "hold", Status.FAILS: "fail", Status.NOT_CHECKED: "not checked"}
