"""Two small repos on a local Hub, and what readers see of them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from release.hub.huggingface import HuggingFaceHub
from release.hub.insist import Patience
from release.hub.transaction import Release, RepoTree
from tests.hub_server.history import pointer
from tests.hub_server.running import OWNER, TOKEN, RunningHub
from tests.unit.hub.release_trees import release

PART_SIZE = "20000"
"""Bytes of a part: the model is sent in parts, the draft head whole."""

HASTE = Patience(tries=1, first=0.01, silence=0.7)
"""Gives up at the first request that is not answered."""

PATIENCE = Patience(tries=4, first=0.01, silence=0.7)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two repos of their own on the Hub, made and empty."""

    server: RunningHub
    name: str
    root: Path

    @property
    def names(self) -> tuple[str, str]:
        """The master and its sibling."""
        return f"{OWNER}/{self.name}", f"{OWNER}/{self.name}-NVFP4"

    def create(self) -> "Pair":
        """Make both repos."""
        api = HfApi(endpoint=self.server.url, token=TOKEN)
        for name in self.names:
            api.create_repo(name)
        return self

    def hub(self, patience: Patience = PATIENCE, machine: str = "here") -> HuggingFaceHub:
        """Return the Hub as one machine sees it."""
        return HuggingFaceHub(
            endpoint=self.server.url, journals=self.root / machine / "journals", patience=patience
        )

    def release(
        self, *, body: str = "", figure: float = 2.6, version: str = "1.0.0", signature: str = ""
    ) -> Release:
        """Write the trees of a release whose blobs nobody else has."""
        where, body = self.root / f"trees-{version}-{body}-{figure}-{signature}", f"{self.name} {body}"
        return release(
            where, version=version, body=body, figure=figure, names=self.names, signature=signature
        )

    def at(self, name: str, revision: str) -> dict[str, str]:
        """Return the git blob of each file of a revision, as git tells it."""
        listed = self.server.git(name, "ls-tree", "-r", revision).splitlines()
        return {line.split("\t")[1]: line.split("\t")[0].split()[2] for line in listed}

    def check(self, wanted: Release, commits: int = 1) -> None:
        """Assert that both repos hold the release at its tag, by one commit each."""
        tag = f"v{wanted.version}"
        for repo in wanted.repos:
            there = self.at(repo.repo, tag)
            del there[".gitattributes"]
            assert there == {path: _blob(repo, path) for path in repo.tree.files}, repo.repo
            for path in repo.tree.files:
                if path.endswith(".safetensors"):
                    sha256 = repo.tree.files[path].sha256
                    blob = self.server.root / "lfs" / sha256[:2] / sha256[2:4] / sha256
                    assert blob.read_bytes() == (repo.root / path).read_bytes()
            assert self.server.git(repo.repo, "rev-list", "--count", "main").strip() == str(1 + commits)
            assert self.server.git(repo.repo, "fsck", "--strict", "--no-dangling") == ""
            assert self.server.resent(repo.repo) == []

    def tags(self, name: str) -> list[str]:
        """Return the tags of a repo."""
        return self.server.git(name, "tag", "--list").split()

    def pulls(self, name: str) -> list[str]:
        """Return the status of each pull request of a repo, the first one first."""
        found = HfApi(endpoint=self.server.url, token=TOKEN).get_repo_discussions(name)
        return [pull.status for pull in found]

    def record(self, name: str, revision: str) -> str:
        """Return which body a revision promises."""
        text = self.server.git(name, "cat-file", "blob", f"{revision}:release.json")
        return str(json.loads(text)["promised"]["master"])


def _blob(repo: RepoTree, path: str) -> str:
    """Return the id of the git blob that stands for a file: of its bytes, or of its LFS pointer."""
    data = (repo.root / path).read_bytes()
    if path.endswith(".safetensors"):
        data = pointer(repo.tree.files[path].sha256, len(data))
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
