"""Where a source comes from: beside the recipe, or from a Hub at a revision.

    path:base                            relative to the recipe's folder
    hub:Qwen/Qwen3.6-27B@6a9e13bd...     a model repo; the revision is a commit, a tag or a branch

Example::

    parse_source("hub:Qwen/Qwen3.6-27B@main").repo.owner  # "Qwen"
"""

import re
from dataclasses import dataclass

from release.reponame import RepoName

PATH = "path:"
HUB = "hub:"
EXPECTED = "path:FOLDER, path:FILE or hub:OWNER/NAME@REVISION"

_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/-]{0,198}[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class PathSource:
    """A file or a folder on this machine, relative to the recipe's folder."""

    path: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """A model repo on a Hub at a revision."""

    repo: RepoName
    revision: str

    def __str__(self) -> str:
        return f"{HUB}{self.repo}@{self.revision}"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which names the same bytes for ever."""
        return _COMMIT.fullmatch(self.revision) is not None


def parse_source(text: str) -> PathSource | HubSource:
    """Parse a source. Raises ValueError for another form, UsageError for a bad repo name."""
    if text.startswith(PATH) and len(text) > len(PATH):
        return PathSource(text.removeprefix(PATH))
    repo, _, revision = text.removeprefix(HUB).partition("@")
    if text.startswith(HUB) and _REVISION.fullmatch(revision) and ".." not in revision:
        return HubSource(RepoName.parse(repo), revision)
    raise ValueError(f"expected {EXPECTED}, got {text!r}")
