"""Which Hub a release goes to, what it is told before, and what is said after.

A folder needs no word; a remote Hub asks before it is written to.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.formats.release_files import TEMPLATE_FILE
from release import line as lines
from release import recipe as recipes
from release.allowlist import ATTESTATION
from release.errors import StoppedError, UsageError
from release.hub.folder import FolderHub
from release.hub.transaction import Hub, Outcome, Release, RepoTree, State, Way
from release.line import Line
from release.report.terminal import Terminal, rows_table, size
from release.signer import Signer, for_version

if TYPE_CHECKING:
    from release.hub.client import Client
    from release.hub.huggingface import HuggingFaceHub
    from release.hub.intent import Intent, RepoIntent

SLOW_LINE = 100e6 / 8
"""Bytes a second of the line that a plan reckons with."""


def require_consent(*, yes: bool) -> None:
    """Raise UsageError, before anything is built, when nobody could be asked later."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "publishing to a Hub asks before it writes, and nobody is there to answer",
            hint="add --yes to publish without being asked, or --dry-run to see the plan",
        )


def release_of(
    line: Line, version: str, trees: Mapping[str, str], locked: Mapping[str, str] | None = None
) -> Release:
    """Return the release that two assembled trees of the store are; ``trees`` by the name of their step.

    ``locked`` are the files that must be those of the lock, by their sha256.
    """
    repos = line.recipe.repos
    return Release(
        version=version,
        repos=(
            _repo_tree(line, trees["assemble-master"], "assemble-master", repos.master, locked or {}),
            _repo_tree(line, trees["assemble-nvfp4"], "assemble-nvfp4", repos.nvfp4, locked or {}),
        ),
    )


def locked_files(line: Line) -> Mapping[str, str]:
    """Return the files that must be those of the line's lock, by their sha256."""
    pinned = line.pinned.get("chat_template")
    tree = pinned.tree if pinned else line.trees.get("chat_template")
    return {TEMPLATE_FILE: tree.files[TEMPLATE_FILE].sha256} if tree else {}


def _repo_tree(line: Line, digest: str, step: str, repo: str, locked: Mapping[str, str]) -> RepoTree:
    store = line.store
    tree = store.tree(digest)
    if tree is None:
        raise UsageError(
            f"{step} of {repo} is not whole in the store {store.root}",
            hint="build it again: the same release builds only what is missing",
        )
    return RepoTree(repo=repo, root=store.folder(digest, step), tree=tree, locked=locked)


def hub(folder: Path | None, store: Path, terminal: Terminal, *, yes: bool) -> Hub:
    """Return the Hub: a folder, or with None the one of HF_ENDPOINT."""
    if folder is not None:
        return FolderHub(folder)
    return remote(store, terminal, yes=yes)


def remote(store: Path, terminal: Terminal, *, yes: bool) -> "HuggingFaceHub":
    """Return the Hub of HF_ENDPOINT; its journals lie in the store."""
    from release.hub.client import endpoint
    from release.hub.huggingface import HuggingFaceHub

    def confirm(intent: "Intent") -> None:
        terminal.say(f"{intent.endpoint}, as {intent.account}:")
        _say_repos(intent.repos, terminal)
        if not yes and input("publish? [y/N] ").strip().lower() not in ("y", "yes"):
            raise StoppedError("nothing was published", hint="the same command asks again")

    return HuggingFaceHub(endpoint=endpoint(), journals=store / "publishing", confirm=confirm)


def print_plan(release: Release | None, store: Path, terminal: Terminal, way: Way) -> None:
    """Say what publishing would send, and how long that takes, once both trees are assembled."""
    if release is None:
        terminal.say("publish: the bytes to send are known once both trees are assembled")
        return
    terminal.say("publish:")
    _say_repos(tuple(map(_as_attested, remote(store, terminal, yes=True).plan(release, way))), terminal)


def _as_attested(repo: "RepoIntent") -> "RepoIntent":
    """Leave out the attestation: it is made when a release is published, so a plan takes it for gone."""
    return replace(repo, deletes=tuple(path for path in repo.deletes if path not in ATTESTATION))


def print_outcome(outcome: Outcome, terminal: Terminal) -> None:
    """Print what readers get by which revision, and what was sent."""
    rows = [
        (repo.repo, repo.revision, repo.commit[:12], *_sent(repo.sent, repo.size)) for repo in outcome.repos
    ]
    title = "staged" if outcome.state is State.STAGED else "published"
    terminal.console.print(rows_table(title, ("repo", "revision", "commit", "sent", "saved"), rows))
    if outcome.state is State.STAGED:
        for repo in outcome.repos:
            terminal.say(f"to look at it: hf download {repo.repo} --revision {repo.revision}")
        terminal.say(f"to publish both: invoke promote --version {outcome.version}")


def verify_as_readers(outcome: Outcome, hub: Path | None, signer: Signer | None, terminal: Terminal) -> None:
    """Verify what was published now, as readers of both tags get it, and say how anybody does.

    Raises ProofError when readers get anything else, or another's signature.
    """
    if outcome.state is State.PUBLISHED:
        from release.verifying.command import Question, verify

        expected = for_version(signer, outcome.version) if signer is not None else None
        for repo in outcome.repos:
            verify(Question(asked=f"{repo.repo}@v{outcome.version}", hub=hub, signer=expected), terminal)
    where = "" if hub is None else f" --hub {hub}"
    for repo in outcome.repos:
        terminal.say(f"anybody can check it: invoke verify {repo.repo}@v{outcome.version}{where}")


def _sent(sent: int | None, whole: int) -> tuple[str, str]:
    """Return what was sent and what was not; Xet sends the chunks that are new and does not say."""
    return ("by Xet", "by Xet") if sent is None else (size(sent), size(max(0, whole - sent)))


def set_up(recipe: str, terminal: Terminal, *, private: bool, namespace: str = "") -> None:
    """Make both repos of a line on the Hub of HF_ENDPOINT; those that are there stay as they are."""
    with _client(recipe, namespace) as (client, repos):
        terminal.say(f"{client.endpoint}, as {client.whoami()}:")
        for repo in repos:
            client.create(repo, private=private)
            client.check_write(repo)
            terminal.say(f"  {client.endpoint}/{repo} is there, and this token may write to it")


def roll_back(recipe: str, version: str, terminal: Terminal, *, yes: bool, namespace: str = "") -> None:
    """Put the release before ``version`` on both mains; no byte is uploaded, and tags stay."""
    from release.hub import withdraw

    _consent(f"put the release before {lines.parse_version(version)} on main of both repos", yes=yes)
    with _client(recipe, namespace) as (client, repos):
        before = withdraw.roll_back(client, repos, version)
    terminal.say(f"main of {repos[0]} and of {repos[1]} holds v{before}; tags are as they were")


def yank(recipe: str, version: str, terminal: Terminal, *, yes: bool, namespace: str = "") -> None:
    """Take the tags of a version away from both repos; its name stays taken."""
    from release.hub import withdraw

    _consent(f"take v{lines.parse_version(version)} away from readers of both repos", yes=yes)
    with _client(recipe, namespace) as (client, repos):
        withdraw.yank(client, repos, version)
    terminal.say(f"v{version} is yanked; its files stay at the tag {withdraw.YANKED}{version}")


@contextmanager
def _client(recipe: str, namespace: str) -> "Iterator[tuple[Client, tuple[str, str]]]":
    from release.hub.calls import CallJournal
    from release.hub.client import Client, endpoint
    from release.hub.insist import Patience, one_try

    line = lines.open_line(recipe, namespace=namespace)
    recipes.require_named(line.recipe)
    patience, file = Patience(), line.store.root / "publishing" / "calls.jsonl"
    journal = CallJournal(file, version="", repos={})
    with one_try(patience):
        repos = line.recipe.repos
        yield Client.connect(endpoint(), patience, journal, publishes=True), (repos.master, repos.nvfp4)
    journal.close()


def _consent(what: str, *, yes: bool) -> None:
    require_consent(yes=yes)
    if not yes and input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise StoppedError("nothing was changed", hint="the same command asks again")


def _say_repos(repos: "tuple[RepoIntent, ...]", terminal: Terminal) -> None:
    for repo in repos:
        minutes = repo.unsent / SLOW_LINE / 60
        time = f", {minutes:.0f} min at 100 Mbit/s" if minutes >= 1 else ""
        gone = f"; deletes {', '.join(repo.deletes)}" if repo.deletes else ""
        way = f"; {repo.how}" if repo.how else ""
        said = f"{repo.files} files, {size(repo.size)}; {size(repo.unsent)} to send{time}{gone}{way}"
        terminal.say(f"  {repo.repo}: {said}")
