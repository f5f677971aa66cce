"""The name of a repo on a Hub: ``owner/name``.

A name ends up as a folder, in a URL and in a command that strangers paste, so only the
characters that the Hub itself allows pass.

Example::

    RepoName.parse("natfii/Qwen3.6-27B-VLM-Cascade").owner  # "natfii"
"""

import re
from dataclasses import dataclass

from release.errors import UsageError

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True, order=True)
class RepoName:
    """An owner and a name, both safe as one folder each."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "RepoName":
        """Parse ``owner/name``.

        Raises UsageError for anything that the Hub would refuse or that could leave a folder.
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(_plain(part) for part in parts):
            raise UsageError(
                f"{text!r} is not a repo name",
                why="A repo is owner/name: letters, digits, . _ -, no leading or trailing . or -.",
                hint="write it like natfii/Qwen3.6-27B-VLM-Cascade",
            )
        return cls(parts[0], parts[1])


def _plain(part: str) -> bool:
    return _PART.fullmatch(part) is not None and ".." not in part and "--" not in part
