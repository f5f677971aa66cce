"""What the server holds: accounts, blobs, repos, and what it was asked.

    <root>/accounts.json  publishers.json
    <root>/lfs/ab/cd/<sha256>            xet/: chunks, where clients speak Xet
    <root>/repos/<owner>/<name>.git      bare git
    <root>/repos/<owner>/<name>.json     visibility and pull requests

Everything that a client was told lies on disk: a server that is started again goes on.
"""

import json
import os
import secrets
import shutil
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

from release.digest import Json
from release.reponame import RepoName
from tests.hub_server.account import Account
from tests.hub_server.accounts import Accounts
from tests.hub_server.blobs import Blobs
from tests.hub_server.faults import Faults
from tests.hub_server.history import History
from tests.hub_server.publishers import Publishers
from tests.hub_server.wire import RefusedError, Request
from tests.hub_server.xet import XetFile, XetStore


@dataclass(slots=True, kw_only=True)
class PullRequest:
    """A proposal: a commit at ``refs/pr/<num>`` that may be merged into main."""

    num: int
    title: str
    author: str
    status: str = "open"
    merged: str | None = None


@dataclass(slots=True, kw_only=True)
class Settings:
    """What a repo is beside its history."""

    private: bool = False
    pull_requests: list[PullRequest] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it was answered. ``status`` 0: no answer was given."""

    method: str
    path: str
    status: int
    received: int

    def to_json(self) -> dict[str, Json]:
        """Return the request as JSON."""
        return {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "received": self.received,
        }


class State:
    """The whole server, without HTTP."""

    def __init__(
        self, root: Path, *, part_size: int, token_seconds: float = 3600.0, xet: bool = False
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.part_size = part_size
        """Bytes of one part of a blob; larger blobs are sent in parts. 0: never."""
        self.secret = _secret(root / "secret")
        self.publishers = Publishers(file=root / "publishers.json", secret=self.secret, seconds=token_seconds)
        self.accounts = Accounts.load(root / "accounts.json", self.publishers)
        self.blobs = Blobs(root)
        self.xet = XetStore(root / "xet") if xet else None
        self.faults = Faults()
        self.asked: list[Asked] = []
        self.resent: list[str] = []
        """Blobs that were sent although they were here."""
        self.lock = threading.RLock()
        self._histories: dict[str, History] = {}

    def create(self, repo: str, owner: Account, *, private: bool) -> None:
        """Make a repo. Raises RefusedError when it is there."""
        with self.lock:
            git = self._git(repo)
            if git.exists():
                raise KeyError(repo)
            self._histories[repo] = History.create(git, owner.name)
            self.save(repo, Settings(private=private))

    def delete(self, repo: str) -> None:
        """Remove a repo; its blobs stay."""
        with self.lock:
            self._histories.pop(repo, None)
            shutil.rmtree(self._git(repo))
            self._git(repo).with_suffix(".json").unlink()

    def history(self, repo: str) -> History:
        """Return a repo's history. Raises RefusedError."""
        with self.lock:
            if repo not in self._histories:
                if not self._git(repo).exists():
                    raise _no_repo()
                self._histories[repo] = History(self._git(repo))
            return self._histories[repo]

    def settings(self, repo: str) -> Settings:
        """Return a repo's settings."""
        found = json.loads(self._git(repo).with_suffix(".json").read_text())
        return Settings(
            private=found["private"], pull_requests=[PullRequest(**pr) for pr in found["pull_requests"]]
        )

    def save(self, repo: str, settings: Settings) -> None:
        """Keep a repo's settings."""
        file = self._git(repo).with_suffix(".json")
        partial = file.with_suffix(".new")
        partial.write_text(json.dumps(asdict(settings), indent=1))
        os.replace(partial, file)  # noqa: PTH105

    def blob_size(self, sha256: str) -> int | None:
        """Return a large file's size, by whichever way it came; None when it is not here."""
        size = self.blobs.size(sha256)
        if size is None and (found := self.in_xet(sha256)) is not None:
            return found.size
        return size

    def in_xet(self, sha256: str) -> XetFile | None:
        """Return a large file that came by Xet."""
        return self.xet.find(sha256) if self.xet else None

    def readable(self, request: Request) -> History:
        """Return the repo of a request. Raises RefusedError when the asking one may not read it."""
        account = self.accounts.asking(request)
        history = self.history(request.repo)
        if self.settings(request.repo).private and not (account and account.may_write(request.repo)):
            raise _no_repo()
        return history

    def writable(self, request: Request) -> tuple[History, Account]:
        """Return the repo of a request and who asks. Raises RefusedError when they may not write."""
        account = self.accounts.known(request)
        history = self.readable(request)
        if not account.may_write(request.repo):
            raise RefusedError(403, "Forbidden: you don't have the rights to write to this repo")
        return history, account

    def _git(self, repo: str) -> Path:
        name = RepoName.parse(repo)
        return self.root / "repos" / name.owner / f"{name.name}.git"


def _no_repo() -> RefusedError:
    return RefusedError(404, "Repository not found", code="RepoNotFound")


def _secret(file: Path) -> bytes:
    if not file.exists():
        file.write_bytes(secrets.token_bytes(32))
        file.chmod(0o600)
    return file.read_bytes()
