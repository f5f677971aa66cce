"""The terminal: one line per step, and a bar that a second start replaces."""

from io import StringIO

from rich.console import Console

from recipes.formats.progress import Update
from release.derivation import Step
from release.plan import Planned, Status
from release.realize import Done
from release.report.terminal import Terminal, plan_table

STEP = Step(name="quantize", does="quantize")


def test_a_pull_that_came_to_nothing_gives_its_bar_to_the_build() -> None:
    out = StringIO()
    terminal = Terminal(Console(file=out, force_terminal=True, width=100))
    terminal.started(STEP, "k" * 64)
    terminal.progress(STEP, Update(at="downloading", done=1, total=2, unit="bytes"))
    terminal.started(STEP, "k" * 64)
    terminal.finished(STEP, Done(key="k" * 64, tree="t", size=10, seconds=1.0, built=True, isolation={}))
    assert "built" in out.getvalue()


def test_a_step_from_the_cache_says_so() -> None:
    out = StringIO()
    Terminal(out=out).finished(
        STEP, Done(key="k" * 64, tree="t", size=10, seconds=1.0, built=False, isolation={}, pulled=5)
    )
    assert "cached" in out.getvalue()


def test_a_plan_names_the_gate_that_changed() -> None:
    why = "changed: params.gates[speed].at_least"
    out = StringIO()
    Console(file=out, width=100).print(
        plan_table([Planned(step=STEP, status=Status.WAIT, derivation=None, tree=None, why=why)])
    )
    assert why in out.getvalue()
