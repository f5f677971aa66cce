"""What can I do? The tasks of graftsmith; ``invoke --list`` shows them."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task

from release.reference.options import words

if TYPE_CHECKING:
    from release.preparing import Order

# invoke keeps Python from writing bytecode; without it each command compiles the project anew.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

if sys.getfilesystemencoding() != "utf-8":
    # What stands in a key or on a card must not depend on the shell's locale: all text is UTF-8.
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 (itself)

P = ParamSpec("P")

PROJECT = Path(__file__).resolve().parent
HUB = str(PROJECT / "dist" / "hub")
LOCAL = "local"


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

    return Task(run, help=words(function), auto_shortflags=False)


@command
def init(
    context: Context,
    name: str,
    base: str = "",
    master: str = "",
    namespace: str = "",
    base_repo: str = "",
    base_license: str = "",
    base_copyright: str = "",
    variant: str = "",
    linear_attention: str = "",
    in_proj_ab: str = "",
    activations: str = "",
    thinking: bool = True,
    into: str = "",
) -> None:
    """Begin a new release line: asks on a terminal, takes flags anywhere.

    It writes the folder recipes/NAME with a recipe that plans at once, and overwrites nothing.

    Example: invoke init my-model --base hub:Qwen/Qwen3.6-27B@main --master ../my-model
    """
    from release.founding.init import RECIPES, found
    from release.report.terminal import Terminal

    answers = {
        "base": base,
        "master": master,
        "namespace": namespace,
        "base_repo": base_repo,
        "base_license": base_license,
        "base_copyright": base_copyright,
        "variant": variant,
        "linear_attention": linear_attention,
        "in_proj_ab": in_proj_ab,
        "activations": activations,
    }
    found(name, answers, Terminal(), thinking=thinking, into=Path(into).absolute() if into else RECIPES)


@command
def lock(
    context: Context, recipe: str = "tiny", diff: bool = False, update: str = "", images: bool = False
) -> None:
    """Resolve the recipe's names to digests and write recipe.lock (--diff: only show what would change).

    --update NAME asks the Hub anew for the source NAME; "all" for each source that it holds.
    --images: ask what the tags of base images mean now; --update all writes those that moved.

    Example: invoke lock --diff
    """
    if images:
        from release.engines.daemon import connect
        from release.imaging.bases import lock_images

        lock_images(PROJECT / "images", connect(), print, update=bool(update), diff=diff)
        return

    from release.locking import lock_line

    lock_line(recipe, update, print, diff=diff)


@command
def status(
    context: Context,
    recipe: str = "tiny",
    version: str = "",
    json: bool = False,
    engine: str = LOCAL,
    cache: str = "",
    cache_trust: str = "",
) -> None:
    """Show what is built, what would be built, and why (--json: for machines).

    Example: invoke status --version 0.2.0
    """
    from release.cache.choice import Choice
    from release.inquiry import status as show
    from release.report.terminal import Terminal

    choice = Choice(uri=cache, trust=cache_trust)
    show(recipe, version, Terminal().console, engine=engine, as_json=json, choice=choice)


@command
def why(
    context: Context,
    step: str,
    recipe: str = "tiny",
    version: str = "",
    json: bool = False,
    engine: str = LOCAL,
) -> None:
    """Say why a step will run: each field that differs from its last run, before and after.

    Example: invoke why smoke-nvfp4
    """
    from release.inquiry import why as ask
    from release.report.terminal import Terminal

    ask(recipe, step, version, Terminal().console, engine=engine, as_json=json)


@command
def build_image(
    context: Context,
    name: str = "",
    variant: str = "cpu",
    rebuild: bool = False,
    push: str = "",
    base: str = "locked",
    accept_nvidia_terms: bool = False,
) -> None:
    """Build the images that steps run in (--rebuild: build again and compare; --push REGISTRY).

    --base takes what stands in for the locked base, as oci-layout://FOLDER@sha256:...

    Example: invoke build-image --name quantize
    """
    from release.imaging.command import Question, run
    from release.report.terminal import Terminal

    asked = Question(
        name=name,
        variant=variant,
        rebuild=rebuild,
        push=push,
        base=base,
        accept_terms=accept_nvidia_terms,
    )
    run(asked, Terminal())


@command
def build(
    context: Context,
    recipe: str = "tiny",
    step: str = "prove",
    engine: str = LOCAL,
    cache: str = "",
    cache_trust: str = "",
    cache_push: bool = False,
) -> None:
    """Build the trees up to a step (default: prove; both trees configured and proved).

    Example: invoke build --step quantize
    """
    _build(_order(recipe, "0.0.0", engine, cache, cache_trust, cache_push), step)


@command
def rebuild(
    context: Context,
    step: str,
    recipe: str = "tiny",
    version: str = "",
    tolerance: float = 0.05,
    engine: str = LOCAL,
) -> None:
    """Build a finished step again beside its result and compare: bytes, or figures within --tolerance.

    Example: invoke rebuild quantize
    """
    from release.report.terminal import Terminal
    from release.upkeep import rebuild as run

    run(recipe, step, version, tolerance, Terminal(), engine=engine)


@command
def smoke(context: Context, recipe: str = "tiny", engine: str = LOCAL) -> None:
    """Serve both trees, measure, and hold the figures against the gates.

    Example: invoke smoke --engine docker
    """
    _build(_order(recipe, engine=engine), "gate")


@command
def gate(context: Context, recipe: str = "tiny") -> None:
    """Hold the figures against the gates and explain each verdict.

    Example: invoke gate
    """
    from release.gating import explain
    from release.report.terminal import Terminal

    explain(recipe, Terminal())


@command
def report(context: Context, recipe: str = "tiny", version: str = "0.0.0") -> None:
    """Write the report of what was proved and measured: one HTML page that loads nothing.

    Example: invoke report
    """
    _build(_order(recipe, version), "report")


@command
def log(context: Context, step: str, recipe: str = "tiny") -> None:
    """Print what a step printed when it last ran, also when it failed.

    Example: invoke log smoke-nvfp4
    """
    from release.inquiry import log as show
    from release.report.terminal import Terminal

    show(recipe, step, Terminal().console)


@command
def prove(
    context: Context, path: str, against: str = "", master: str = "", quick: bool = False, json: bool = False
) -> None:
    """Prove what a card would claim from the bytes of any NVFP4 repo, also one made elsewhere.

    --against BASE proves draft head and vision tower, --master MASTER the packed body;
    --quick reads a sample of each tensor. Exit code 6 when a claim does not hold.

    Example: invoke prove dist/hub/graftsmith/tiny-cascade-NVFP4-MTP/v0.1.0 --against recipes/tiny/base
    """
    from release.proving import Asked, prove_path

    asked = Asked(path=path, against=against, master=master, quick=quick)
    prove_path(asked, PROJECT / "dist" / "prove", as_json=json)


@command
def compare(context: Context, a: str, b: str, kl: str = "", quick: bool = False, json: bool = False) -> None:
    """Compare two repos of one architecture, folders or OWNER/NAME@vX: bytes, tensors, acceptance.

    --kl TEXTS also runs both models over a file of rows (folders alone); --quick reads a sample.

    Example: invoke compare recipes/tiny/base recipes/tiny/master
    """
    from release.comparing.compare import Asked, compare_repos

    compare_repos(Asked(first=a, second=b, texts=kl, quick=quick), as_json=json)


@command
def diff(context: Context, old: str, new: str, recipe: str = "tiny") -> None:
    """Compare two released versions: derivations, published files, measured figures.

    Example: invoke diff 0.1.0 0.2.0
    """
    from release.inquiry import diff as compare
    from release.report.terminal import Terminal

    compare(recipe, old, new, Terminal().console)


@command
def card(
    context: Context, version: str = "", recipe: str = "tiny", draft: bool = False, open_: bool = False
) -> None:
    """Render README, LICENSE and NOTICE of both repos and say where they are.

    --draft says "not measured" for what no step has found out yet; nothing is built.
    --open shows the cards in a browser, as a Hub would.

    Example: invoke card --recipe qwen3.6-27b-vlm-cascade --draft
    """
    from release.drafting import draft_cards, pictures, release_cards
    from release.report.preview import show
    from release.report.terminal import Terminal

    cards = draft_cards(recipe, version) if draft else release_cards(recipe, version, Terminal())
    for kind, folder in cards.items():
        print(f"card-{kind}: {folder}")
    if open_:
        found = pictures(recipe, version)
        show([folder / "README.md" for folder in cards.values()], PROJECT / "dist" / "pages", found)


@command
def release(
    context: Context,
    version: str,
    recipe: str = "tiny",
    hub: str = HUB,
    dry_run: bool = False,
    engine: str = LOCAL,
    cache: str = "",
    cache_trust: str = "",
    cache_push: bool = False,
    stage: bool = False,
    yes: bool = False,
    namespace: str = "",
    soak: int = 0,
    sign_key: str = "",
    attested: str = "",
) -> None:
    """Release both repos of a line as one version (--dry-run: print the plan; --engine local or docker).

    --soak MINUTES serves the quantized tree for so long first; memory or acceptance that drifts stops it.
    --hub is a folder, or hf for the Hub of HF_ENDPOINT, which asks before it writes (--yes: no question).
    --namespace owns both repos, where it is not the recipe's own; your token must be able to write there.
    --stage leaves a pull request on each repo (in a folder: hidden), until: invoke promote.
    --sign-key FILE signs both repos where the recipe names its public half; --attested DIR takes what
    invoke attest wrote.

    Example: invoke release --version 0.1.0
    """
    from release.home import default_root
    from release.seal import Question, standing

    where = None if hub == "hf" else Path(hub).absolute()
    # A seal answers for the plain command: it knows no signature, no soak and no cache.
    if where is not None and not (dry_run or cache_push or soak or sign_key or attested):
        asked = Question(
            project=PROJECT, recipe=recipe, version=version, engine=engine, hub=where, namespace=namespace
        )
        if (said := standing(asked, default_root())) is not None:
            print(said, end="")
            return

    from dataclasses import replace

    from release.attest import Asked
    from release.hub.transaction import Way
    from release.releasing import release_version
    from release.report.terminal import Terminal

    way = Way.STAGE if stage else Way.DIRECT
    order = replace(_order(recipe, version, engine, cache, cache_trust, cache_push, namespace), soak=soak)
    signing = Asked(key=sign_key, attested=attested)
    release_version(order, where, Terminal(), way, dry_run=dry_run, yes=yes, asked=signing)


@command
def promote(
    context: Context,
    version: str,
    recipe: str = "tiny",
    hub: str = "hf",
    yes: bool = False,
    namespace: str = "",
) -> None:
    """Merge and tag what `release --stage` left at both repos, when it is still what was staged.

    --hub is a folder, or hf for the Hub of HF_ENDPOINT, which asks before it writes (--yes: no question).

    Example: invoke promote --version 0.1.0
    """
    from release.promoting import promote_version
    from release.report.terminal import Terminal

    where = None if hub == "hf" else Path(hub).absolute()
    promote_version(recipe, version, where, Terminal(), yes=yes, namespace=namespace)


@command
def prepare(
    context: Context,
    version: str,
    recipe: str = "tiny",
    out: str = "",
    engine: str = LOCAL,
    cache: str = "",
    cache_trust: str = "",
    cache_push: bool = False,
    namespace: str = "",
) -> None:
    """Do everything of a release but publish it (--out: a folder for sums and evidence).

    Example: invoke prepare --version 0.1.0 --out prepared
    """
    from release.preparing import prepare_version
    from release.report.terminal import Terminal

    order = _order(recipe, version, engine, cache, cache_trust, cache_push, namespace)
    prepare_version(order, Path(out).absolute() if out else None, Terminal())


@command
def attest(context: Context, prepared: str, recipe: str = "tiny", sign_key: str = "") -> None:
    """Sign what invoke prepare --out wrote: sums and provenance of both repos, without their weights.

    With a key (--sign-key FILE, or GRAFTSMITH_SIGN_KEY), or in a workflow with its identity, as the
    recipe says. Writes model.sig and provenance.sigstore.json beside each tree's sums.

    Example: invoke attest prepared
    """
    from release.attest import sign_prepared
    from release.report.terminal import Terminal

    sign_prepared(recipe, Path(prepared).absolute(), sign_key, Terminal())


@command
def hub_setup(context: Context, recipe: str = "tiny", private: bool = False, namespace: str = "") -> None:
    """Make both repos of a line on the Hub of HF_ENDPOINT, once; what is there stays as it is.

    Example: invoke hub-setup --private
    """
    from release.publishing import set_up
    from release.report.terminal import Terminal

    set_up(recipe, Terminal(), private=private, namespace=namespace)


@command
def hub(context: Context, root: str = str(PROJECT / "dist" / "hub-server"), port: int = 8800) -> None:
    """Start a local Hub to rehearse a release on; the first run makes a token and says how to use it.

    Example: invoke hub --port 8800
    """
    from tests.hub_server.rehearsal import start

    start(Path(root).absolute(), port)


@command
def rollback(
    context: Context, version: str, recipe: str = "tiny", yes: bool = False, namespace: str = ""
) -> None:
    """Put the release before a version on main of both repos of the Hub; nothing is uploaded, tags stay.

    Example: invoke rollback --version 1.1.0
    """
    from release.publishing import roll_back
    from release.report.terminal import Terminal

    roll_back(recipe, version, Terminal(), yes=yes, namespace=namespace)


@command
def yank(
    context: Context, version: str, recipe: str = "tiny", yes: bool = False, namespace: str = ""
) -> None:
    """Take a version away from readers of both repos of the Hub; its name stays taken.

    Example: invoke yank --version 1.1.0
    """
    from release.publishing import yank as run
    from release.report.terminal import Terminal

    run(recipe, version, Terminal(), yes=yes, namespace=namespace)


@command
def verify(
    context: Context,
    published: str,
    hub: str = "hf",
    public_key: str = "",
    identity: str = "",
    issuer: str = "",
    bytes_: bool = False,
    against: str = "",
    master: str = "",
    rebuild: bool = False,
    recipe: str = "",
) -> None:
    """Verify a published repo at its tag without downloading its weights; exit code 6 when it is another.

    --public-key FILE, or --identity and --issuer: who must have signed it. --bytes reads what was left
    alone, here and in base and master (--against, --master: a folder or owner/name@revision).
    --rebuild builds the model files again from lock and published scales. --hub DIR reads a folder.

    Example: invoke verify graftsmith/tiny-cascade-NVFP4-MTP@v0.1.0 --hub dist/hub
    """
    from release.report.terminal import Terminal
    from release.verifying.command import Question, signer_of
    from release.verifying.command import verify as run

    question = Question(
        asked=published,
        hub=None if hub == "hf" else Path(hub).absolute(),
        signer=signer_of(public_key, identity, issuer),
        bytes=bytes_,
        against=against,
        master=master,
        rebuild=rebuild,
        recipe=recipe,
    )
    run(question, Terminal())


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
def doctor(context: Context, recipe: str = "tiny", json: bool = False) -> None:
    """Look whether this machine can release a line, and say what to do where it cannot.

    Example: invoke doctor --json
    """
    from release.doctor.examine import examine
    from release.report.terminal import Terminal

    examine(recipe, Terminal(), as_json=json)


@command
def runner_setup(
    context: Context,
    apply: bool = False,
    user: str = "graftsmith",
    folder: str = "/opt/graftsmith-runner",
    store: str = "/var/lib/graftsmith",
    json: bool = False,
) -> None:
    """Look whether this host can be a release runner; only --apply changes it, naming each change.

    Example: sudo .venv/bin/invoke runner-setup --apply

    Example: invoke runner-setup --json
    """
    from release.report.terminal import Terminal
    from release.runner.host import Wish
    from release.runner.setup import set_up

    wish = Wish(user=user, folder=Path(folder), store=Path(store))
    set_up(wish, Terminal(), apply=apply, as_json=json)


@command
def docs(context: Context, check: bool = False) -> None:
    """Make docs/reference and the picture of the flow from the code (--check: say whether they are).

    Example: invoke docs --check
    """
    from release.reference.making import described, make

    make([described(name, namespace[name]) for name in namespace.task_names], PROJECT / "docs", check=check)


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
    for line in ("ruff check .", "ruff format --check .", "mypy", "lint-imports"):
        print(f"$ {line}", flush=True)
        program, *arguments = line.split()
        done = subprocess.run([tools / program, *arguments], cwd=PROJECT, check=False)
        if done.returncode != 0:
            _stop(f"{line}: it found what is to be mended", 1)


def _build(order: "Order", *targets: str) -> None:
    from release.preparing import build
    from release.report.terminal import Terminal

    build(order, targets, Terminal())


def _order(
    recipe: str,
    version: str = "0.0.0",
    engine: str = LOCAL,
    cache: str = "",
    cache_trust: str = "",
    cache_push: bool = False,
    namespace: str = "",
) -> "Order":
    from release.cache.choice import Choice
    from release.preparing import Order

    choice = Choice(uri=cache, trust=cache_trust, push=cache_push)
    return Order(recipe=recipe, version=version, engine=engine, cache=choice, namespace=namespace)


def _debug() -> bool:
    return any(flag in sys.argv for flag in ("-d", "--debug"))


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


store = Collection("store")
store.add_task(store_verify, "verify")
store.add_task(store_gc, "gc")
namespace = Collection(
    init,
    lock,
    status,
    why,
    build_image,
    build,
    rebuild,
    smoke,
    gate,
    report,
    log,
    prove,
    compare,
    diff,
    card,
    release,
    promote,
    prepare,
    attest,
    hub_setup,
    hub,
    rollback,
    yank,
    verify,
    doctor,
    runner_setup,
    docs,
    test,
    lint,
    store,
)
