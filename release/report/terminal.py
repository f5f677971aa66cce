"""One line per step while it runs, a bar where it takes longer, a table at the end.

rich is imported when there is something to draw: a release that finds everything done
prints plain lines, in less time than the import takes.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING

from recipes.formats.progress import Update
from release.derivation import Step
from release.plan import Planned, Status
from release.realize import Done

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text

    from recipes.formats.byte_budget import ByteBudget
    from recipes.formats.serving.budget import MemoryBudget

PIPE_WIDTH = 100
"""Columns of a table where the output is no terminal."""

QUIET_FOR = 5.0
"""Seconds between progress lines where the output is no terminal."""


class Terminal:
    """Prints what the executor tells; bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: "Console | None" = None, out: IO[str] | None = None) -> None:
        self._console = console
        self._out = out or sys.stdout
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._last = ""
        self._spoke = 0.0

    @property
    def console(self) -> "Console":
        """What tables and bars are drawn on."""
        if self._console is None:
            from rich.console import Console

            # A pipe has no width of its own, and 80 columns would fold every table.
            width = None if self._out.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
            self._console = Console(file=self._out, highlight=False, soft_wrap=True, width=width)
        return self._console

    def say(self, line: str) -> None:
        """Print one plain line."""
        if self._console is None:
            self._out.write(f"{line}\n")
        else:
            self._console.print(line, markup=False)

    def started(self, step: Step, key: str) -> None:
        """Show that a step begins."""
        if not self.console.is_terminal:
            self._line(step.name, key, "starting", "")
            self._spoke = time.monotonic()
            return
        self.stop()  # a pull that came to nothing was started before
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(24), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self.console, transient=True)
        self._progress.start()
        self._task = self._progress.add_task(step.name, total=None)

    def waiting(self, step: Step, key: str) -> None:
        """Show that another release builds this key."""
        self._line(step.name, key, "waiting", "another release is building it; its result will be used")

    def progress(self, step: Step, update: Update) -> None:
        """Show how far a step is."""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                description=f"{step.name}: {update.at}",
                completed=update.done,
                total=update.total or None,
            )
            return
        text = update.at + (f" {update.done}/{update.total} {update.unit}".rstrip() if update.total else "")
        if time.monotonic() - self._spoke >= QUIET_FOR and text != self._last:
            self._line(step.name, " " * 8, "", text)
            self._last, self._spoke = text, time.monotonic()

    def finished(self, step: Step, done: Done) -> None:
        """Print the step's line."""
        self.stop()
        self._line(step.name, done.key, done.how, f"{size(done.size):>9}  {done.seconds:6.1f} s")

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None

    def _line(self, name: str, key: str, how: str, rest: str) -> None:
        self.say(f"  {name:<18} {key[:8]:<8}  {how:<8} {rest}")


def plan_table(planned: Sequence[Planned]) -> "Table":
    """Return the plan as a table: step, key, what will happen and why."""
    from rich.text import Text

    rows = []
    for item in planned:
        key = item.derivation.key[:8] if item.derivation else "-"
        style = "green" if item.status in (Status.HIT, Status.CACHED) else "yellow"
        why = f"{item.why}, {size(item.download)} to download" if item.status is Status.CACHED else item.why
        rows.append((item.step.name, key, Text(item.status.value, style), why))
    return rows_table("plan", ("step", "key", "", "why"), rows)


def memory_table(budgets: "Mapping[str, MemoryBudget]") -> "Table":
    """Return the memory of serving each tree: what it is for, and what there is."""
    from release.budget import rows as budget_rows  # numpy and more: 0.1 s that few commands need

    table = _table(
        "memory to serve", "tree", *(what for what, _ in budget_rows(next(iter(budgets.values()))))
    )
    for name in ("together", "may take", ""):
        table.add_column(name)
    for kind, budget in budgets.items():
        parts = [size(count) for _, count in budget_rows(budget)]
        mark = "fits" if budget.fits else "does not fit"
        table.add_row(kind, *parts, size(budget.need), size(budget.room), mark)
    return table


def bytes_table(budget: "ByteBudget") -> "Table":
    """Return the bytes of tensors that each tree will have, by class of module."""
    kinds = sorted({*budget.nvfp4, *budget.master})
    rows = [(str(kind), f"{budget.nvfp4[kind]:,}", f"{budget.master[kind]:,}") for kind in kinds]
    totals = (f"{sum(tree.values()):,}" for tree in (budget.nvfp4, budget.master))
    title = f"bytes of tensors, {budget.packed} Linears packed"
    return rows_table(title, ("class", "nvfp4", "master"), [*rows, ("all", *totals)])


def rows_table(title: str, columns: Sequence[str], rows: "Sequence[Sequence[str | Text]]") -> "Table":
    """Return a plain table. A string is shown as it is: what stands in brackets is no markup."""
    from rich.text import Text

    table = _table(title, *columns)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def size(count: int) -> str:
    """Return a byte count for people, in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
