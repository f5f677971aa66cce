"""Which Hub a release goes to, what it is told before, and what is said after.

A folder needs no word; a remote Hub asks before it is written to.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from release import line as lines
from release.errors import StoppedError, UsageError
from release.hub.folder import FolderHub
from release.hub.transaction import Hub, Outcome, Release, State
from release.report.terminal import Terminal, rows_table, size
from release.signer import Signer, for_version

if TYPE_CHECKING:
    from release.hub.client import Client
    from release.hub.huggingface import HuggingFaceHub, Intent, RepoIntent

REMOTE = "hf"
"""What ``--hub`` is called when it is no folder: the Hub of HF_ENDPOINT."""

SLOW_LINE = 100e6 / 8
"""Bytes a second of the line that a plan reckons with."""


def require_consent(*, yes: bool) -> None:
    """Raise UsageError, before anything is built, when nobody could be asked later."""
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            "publishing to a Hub asks before it writes, and nobody is there to answer",
            hint="add --yes to publish without being asked, or --dry-run to see the plan",
        )


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


def print_plan(release: Release | None, store: Path, terminal: Terminal) -> None:
    """Say what publishing would send, once both trees are assembled."""
    if release is None:
        terminal.say("publish: the bytes to send are known once both trees are assembled")
        return
    terminal.say("publish:")
    _say_repos(remote(store, terminal, yes=True).plan(release), terminal)


def print_outcome(outcome: Outcome, terminal: Terminal) -> None:
    """Print what each tag pins and what was sent."""
    tag = f"v{outcome.version}"
    rows = [(repo.repo, tag, repo.commit[:12], *_sent(repo.sent, repo.size)) for repo in outcome.repos]
    terminal.console.print(rows_table("published", ("repo", "tag", "commit", "sent", "saved"), rows))


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


def set_up(recipe: str, terminal: Terminal, *, private: bool) -> None:
    """Make both repos of a line on the Hub of HF_ENDPOINT; those that are there stay as they are."""
    with _client(recipe) as (client, repos):
        terminal.say(f"{client.api.endpoint}, as {client.whoami()}:")
        for repo in repos:
            client.create(repo, private=private)
            client.check_write(repo)
            terminal.say(f"  {client.api.endpoint}/{repo} is there, and this token may write to it")


def roll_back(recipe: str, version: str, terminal: Terminal, *, yes: bool) -> None:
    """Put the release before ``version`` on both mains; no byte is uploaded, and tags stay."""
    from release.hub import withdraw

    _consent(f"put the release before {lines.parse_version(version)} on main of both repos", yes=yes)
    with _client(recipe) as (client, repos):
        before = withdraw.roll_back(client, repos, version)
    terminal.say(f"main of {repos[0]} and of {repos[1]} holds v{before}; tags are as they were")


def yank(recipe: str, version: str, terminal: Terminal, *, yes: bool) -> None:
    """Take the tags of a version away from both repos; its name stays taken."""
    from release.hub import withdraw

    _consent(f"take v{lines.parse_version(version)} away from readers of both repos", yes=yes)
    with _client(recipe) as (client, repos):
        withdraw.yank(client, repos, version)
    terminal.say(f"v{version} is yanked; its files stay at the tag {withdraw.YANKED}{version}")


@contextmanager
def _client(recipe: str) -> "Iterator[tuple[Client, tuple[str, str]]]":
    from release.hub.calls import CallJournal
    from release.hub.client import Client, endpoint
    from release.hub.insist import Patience, one_try

    line = lines.open_line(recipe)
    patience, file = Patience(), line.store.root / "publishing" / "calls.jsonl"
    journal = CallJournal(file, version="", repos={})
    with one_try(patience):
        repos = line.recipe.repos
        yield Client.connect(endpoint(), patience, journal), (repos.master, repos.nvfp4)
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
        said = f"{repo.files} files, {size(repo.size)}; {size(repo.unsent)} to send{time}{gone}"
        terminal.say(f"  {repo.repo}: {said}")
