"""What can I do? The tasks of graftsmith; ``invoke --list`` shows them."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task

# invoke keeps Python from writing bytecode; without it each command compiles the project anew.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

P = ParamSpec("P")

PROJECT = Path(__file__).resolve().parent
HUB = str(PROJECT / "dist" / "hub")


def command(
    function: Callable[Concatenate[Context, P], None],
) -> Task[Callable[Concatenate[Context, P], None]]:
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

    return Task(run)


@command
def lock(context: Context, recipe: str = "tiny", diff: bool = False) -> None:
    """Resolve the recipe's names to digests and write recipe.lock (--diff: only show what would change).

    Example: invoke lock --diff
    """
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
def status(context: Context, recipe: str = "tiny", version: str = "", json: bool = False) -> None:
    """Show what is built, what would be built, and why (--json: for machines).

    Example: invoke status --version 0.2.0
    """
    from release.inquiry import status as show
    from release.report.terminal import Terminal

    show(recipe, version, Terminal().console, as_json=json)


@command
def why(context: Context, step: str, recipe: str = "tiny", version: str = "", json: bool = False) -> None:
    """Say why a step will run: each field that differs from its last run, before and after.

    Example: invoke why smoke-nvfp4
    """
    from release.inquiry import why as ask
    from release.report.terminal import Terminal

    ask(recipe, step, version, Terminal().console, as_json=json)


@command
def build(context: Context, recipe: str = "tiny", step: str = "prove") -> None:
    """Build the trees up to a step (default: prove; both trees configured and proved).

    Example: invoke build --step quantize
    """
    _realize(recipe, "0.0.0", (step,))


@command
def rebuild(
    context: Context, step: str, recipe: str = "tiny", version: str = "", tolerance: float = 0.05
) -> None:
    """Build a finished step again beside its result and compare: bytes, or figures within --tolerance.

    Example: invoke rebuild quantize
    """
    from release.report.terminal import Terminal
    from release.upkeep import rebuild as run

    run(recipe, step, version, tolerance, Terminal())


@command
def smoke(context: Context, recipe: str = "tiny") -> None:
    """Serve both trees, measure, and hold the figures against the gates.

    Example: invoke smoke
    """
    _realize(recipe, "0.0.0", ("gate",))


@command
def log(context: Context, step: str, recipe: str = "tiny") -> None:
    """Print what a step printed when it last ran, also when it failed.

    Example: invoke log smoke-nvfp4
    """
    from release.inquiry import log as show
    from release.report.terminal import Terminal

    show(recipe, step, Terminal().console)


@command
def diff(context: Context, old: str, new: str, recipe: str = "tiny") -> None:
    """Compare two released versions: derivations, published files, measured figures.

    Example: invoke diff 0.1.0 0.2.0
    """
    from release.inquiry import diff as compare
    from release.report.terminal import Terminal

    compare(recipe, old, new, Terminal().console)


@command
def card(context: Context, version: str, recipe: str = "tiny") -> None:
    """Render README, LICENSE and NOTICE of both repos and say where they are.

    Example: invoke card --version 0.1.0
    """
    _realize(recipe, version, ("card-nvfp4", "card-master"))


@command
def release(
    context: Context,
    version: str,
    recipe: str = "tiny",
    hub: str = HUB,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Release both repos of a line as one version (--dry-run: print the plan).

    --hub is a folder, or hf for the Hub of HF_ENDPOINT, which asks before it writes (--yes: no question).

    Example: invoke release --version 0.1.0
    """
    from release.home import default_root
    from release.seal import Question, standing

    where = None if hub == "hf" else Path(hub).absolute()
    if not dry_run and where is not None:
        asked = Question(project=PROJECT, recipe=recipe, version=version, hub=where)
        if (said := standing(asked, default_root())) is not None:
            print(said, end="")
            return

    from release.releasing import release_version
    from release.report.terminal import Terminal

    release_version(recipe, version, where, Terminal(), dry_run=dry_run, yes=yes)


@command
def hub_setup(context: Context, recipe: str = "tiny", private: bool = False) -> None:
    """Make both repos of a line on the Hub of HF_ENDPOINT, once; what is there stays as it is.

    Example: invoke hub-setup --private
    """
    from release.publishing import set_up
    from release.report.terminal import Terminal

    set_up(recipe, Terminal(), private=private)


@command
def hub(context: Context, root: str = str(PROJECT / "dist" / "hub-server"), port: int = 8800) -> None:
    """Start a local Hub to rehearse a release on; the first run makes a token and says how to use it.

    Example: invoke hub --port 8800
    """
    from tests.hub_server.rehearsal import start

    start(Path(root).absolute(), port)


@command
def rollback(context: Context, version: str, recipe: str = "tiny", yes: bool = False) -> None:
    """Put the release before a version on main of both repos of the Hub; nothing is uploaded, tags stay.

    Example: invoke rollback --version 1.1.0
    """
    from release.publishing import roll_back
    from release.report.terminal import Terminal

    roll_back(recipe, version, Terminal(), yes=yes)


@command
def yank(context: Context, version: str, recipe: str = "tiny", yes: bool = False) -> None:
    """Take a version away from readers of both repos of the Hub; its name stays taken.

    Example: invoke yank --version 1.1.0
    """
    from release.publishing import yank as run
    from release.report.terminal import Terminal

    run(recipe, version, Terminal(), yes=yes)


@command
def verify(context: Context, published: str) -> None:
    """Verify a published repo at its tag without downloading its weights; exit code 6 when it is another.

    Example: invoke verify graftsmith/tiny-cascade-NVFP4-MTP@v0.1.0
    """
    from release.report.terminal import Terminal
    from release.verifying import verify as run

    run(published, Terminal())


@command
def store_verify(context: Context, contents: bool = False) -> None:
    """Check the store: results whole, links right (--contents: read every byte, and environments).

    Example: invoke store.verify --contents
    """
    from release.report.terminal import Terminal
    from release.upkeep import verify

    verify(Terminal(), contents=contents)


@command
def store_gc(context: Context, keep: int = -1, dry_run: bool = False) -> None:
    """Free what no release, line or running release needs (--keep N: the newest N releases of a line).

    Example: invoke store.gc --keep 3 --dry-run
    """
    from release.report.terminal import Terminal
    from release.upkeep import collect

    collect(Terminal(), keep=None if keep < 0 else keep, dry_run=dry_run)


@command
def test(context: Context, fast: bool = False, k: str = "") -> None:
    """Run the tests (--fast: without those that build environments or start servers).

    Example: invoke test --fast -k store
    """
    chosen = [*(["-m", "not env and not slow and not docker"] if fast else []), *(["-k", k] if k else [])]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen])  # noqa: S606 (becomes pytest)


@command
def lint(context: Context) -> None:
    """Check style, types and the import rules.

    Example: invoke lint
    """
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


store = Collection("store")
store.add_task(store_verify, "verify")
store.add_task(store_gc, "gc")
namespace = Collection(
    lock,
    status,
    why,
    build,
    rebuild,
    smoke,
    log,
    diff,
    card,
    release,
    hub,
    hub_setup,
    verify,
    rollback,
    yank,
    test,
    lint,
    store,
)
