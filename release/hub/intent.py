"""What a publish is about to write, for the one who is asked before it does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoIntent:
    """What will be written to one repo. ``unsent`` bytes are not in its ``main``.

    ``how`` says by which way, where it is not one commit on ``main``.
    """

    repo: str
    files: int
    size: int
    unsent: int
    deletes: tuple[str, ...]
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What will be written to both repos, and as whom."""

    endpoint: str
    account: str
    version: str
    repos: tuple[RepoIntent, ...]
