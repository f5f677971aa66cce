"""What can I do? The tasks of graftsmith; ``invoke --list`` shows them."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

from invoke.context import Context
from invoke.tasks import task

P = ParamSpec("P")

PROJECT = Path(__file__).resolve().parent
HUB = str(PROJECT / "dist" / "hub")


def command(function: Callable[Concatenate[Context, P], None]) -> Callable[Concatenate[Context, P], None]:
    """Make a task whose errors are a message and an exit code, never a stack."""

    @functools.wraps(function)
    def run(context: Context, *args: P.args, **kwargs: P.kwargs) -> None:
        from release.errors import GraftsmithError, StoppedError

        try:
            function(context, *args, **kwargs)
        except KeyboardInterrupt:
            _stop(str(StoppedError("stopped", hint="the same command continues")), 9)
        except GraftsmithError as error:
            if _debug():
                raise
            _stop(str(error), error.code)
        except Exception as error:
            if _debug():
                raise
            _stop(f"internal error: {type(error).__name__}: {error}\n→ run again with: invoke --debug …", 1)

    wrapped: Callable[Concatenate[Context, P], None] = task(run)
    return wrapped


@command
def lock(context: Context, recipe: str = "tiny", diff: bool = False) -> None:
    """Resolve the recipe's names to digests and write recipe.lock (--diff: only show what would change)."""
    from release import lock as locks
    from release.errors import LockError
    from release.line import check_sources, open_line

    line = open_line(recipe)
    check_sources(line)
    new = line.resolve()
    try:
        lines = locks.difference(locks.load(line.recipe), new)
    except LockError:
        lines = locks.difference(locks.Lock(sources={}, images={}), new)
    print("\n".join(lines) or "the lock is in step")
    if lines and not diff:
        print(f"wrote {locks.write(line.recipe, new)}")


@command
def status(context: Context, recipe: str = "tiny", version: str = "0.0.0") -> None:
    """Show what is built, what would be built, and why."""
    from release.line import open_line, plan_line
    from release.report.terminal import Terminal, plan_table

    line = open_line(recipe)
    Terminal().console.print(plan_table(plan_line(line, line.steps(version))))


@command
def build(context: Context, recipe: str = "tiny", step: str = "prove") -> None:
    """Build the trees up to a step (default: prove; both trees configured and proved)."""
    _realize(recipe, "0.0.0", (step,))


@command
def smoke(context: Context, recipe: str = "tiny") -> None:
    """Serve both trees, measure, and hold the figures against the gates."""
    _realize(recipe, "0.0.0", ("gate",))


@command
def log(context: Context, step: str, recipe: str = "tiny") -> None:
    """Print what a step printed when it last ran, such as: invoke log smoke-nvfp4."""
    from release.errors import UsageError
    from release.line import open_line

    logs = open_line(recipe).store.root / "logs"
    found = sorted(logs.glob(f"*-{step}.log"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"step {step} has not run in this store", hint="invoke status lists the steps")
    print(f"{found[-1]}:\n{found[-1].read_text(errors='replace')}")


@command
def card(context: Context, version: str, recipe: str = "tiny") -> None:
    """Render README, LICENSE and NOTICE of both repos and say where they are."""
    _realize(recipe, version, ("card-nvfp4", "card-master"))


@command
def release(
    context: Context, version: str, recipe: str = "tiny", hub: str = HUB, dry_run: bool = False
) -> None:
    """Release both repos of a line as one version (--dry-run: print the plan)."""
    from release.releasing import release_version
    from release.report.terminal import Terminal

    release_version(recipe, version, Path(hub).absolute(), Terminal(), dry_run=dry_run)


@command
def test(context: Context, fast: bool = False, k: str = "") -> None:
    """Run the tests (--fast: without those that build environments or start servers)."""
    chosen = [*(["-m", "not env and not slow and not docker"] if fast else []), *(["-k", k] if k else [])]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen])  # noqa: S606 (becomes pytest)


@command
def lint(context: Context) -> None:
    """Check style, types and the import rules."""
    tools = Path(sys.executable).parent
    with context.cd(PROJECT):
        for line in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
            print(f"$ {line}", flush=True)
            context.run(f"{tools}/{line}")


def _realize(recipe: str, version: str, targets: tuple[str, ...]) -> None:
    from release.line import open_line, parse_version, realize_line
    from release.report.terminal import Terminal

    line = open_line(recipe)
    steps = line.steps(parse_version(version)).only(targets)
    terminal = Terminal()
    try:
        done = realize_line(line, steps, terminal)
    finally:
        terminal.stop()
    for target in targets:
        print(f"{target}: {line.store.folder(done[target].tree, target)}")


def _debug() -> bool:
    return any(flag in sys.argv for flag in ("-d", "--debug"))


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
