"""The journal of a publish to a remote Hub: one line after each call that was answered.

    {"format": 1, "version": "1.0.0", "repos": {"owner/name": "<tree digest>", ...}}
    {"call": "commit", "repo": "owner/name", "commit": "<oid>"}

What stands is decided by asking the Hub. The journal says which commit was ours when ``main``
has moved on since, and shows afterwards how far a publish came. No line holds a secret.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.digest import Json
from release.store import durable

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that was answered."""

    call: str
    repo: str
    commit: str = ""


class CallJournal:
    """An append-only file that stands until both names stand."""

    def __init__(self, file: Path, *, version: str, repos: Mapping[str, str]) -> None:
        """Continue the journal of these very trees, or begin a new one at the first line."""
        self._file = file
        digests: dict[str, Json] = dict(repos)
        self._header: Json = {"format": FORMAT, "version": version, "repos": digests}
        lines = _lines(file)
        self._begun = bool(lines) and lines[0] == self._header
        self._calls = [call for line in lines[1:] if (call := _call(line))] if self._begun else []

    def committed(self, repo: str) -> str | None:
        """Return the commit that an interrupted publish of these trees made in ``repo``."""
        return self._commit("commit", repo)

    def proposed(self, repo: str) -> str | None:
        """Return the commit of the pull request by which these trees were staged in ``repo``."""
        return self._commit("propose", repo)

    def note(self, call: str, repo: str = "", commit: str = "") -> None:
        """Add a line so that it survives a power cut."""
        made = Call(call=call, repo=repo, commit=commit)
        self._calls.append(made)
        if not self._begun:
            durable.write(self._file, _line(self._header))
            self._begun = True
        line: dict[str, Json] = {"call": call, "repo": repo}
        if commit:
            line["commit"] = commit
        with durable.full_disk_is_clear(self._file), self._file.open("ab") as file:
            file.write(_line(line))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Remove the journal: both names stand."""
        durable.remove(self._file)

    def _commit(self, call: str, repo: str) -> str | None:
        made = (c.commit for c in reversed(self._calls) if (c.call, c.repo) == (call, repo))
        return next(made, None)


def _line(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"


def _lines(file: Path) -> list[Json]:
    """Return the whole lines; one that was cut short ends the journal."""
    found: list[Json] = []
    try:
        for line in file.read_text().splitlines():
            found.append(json.loads(line))
    except (OSError, ValueError):
        pass
    return found


def _call(line: Json) -> Call | None:
    match line:
        case {"call": str(call), "repo": str(repo)}:
            commit = line.get("commit", "") if isinstance(line, dict) else ""
            return Call(call=call, repo=repo, commit=commit if isinstance(commit, str) else "")
    return None
