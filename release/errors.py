"""Every error a user can meet, one exit code per class.

    GraftsmithError
    ├── UsageError         2   a flag, a version, a name
    ├── ConfigError        3   recipe.toml, image.toml, params
    ├── LockError          4   recipe.lock is missing, unresolved or out of step
    ├── BuildError         5   a step failed
    ├── ProofError         6   a claim does not hold in the bytes
    ├── GateError          7   a figure is missing or outside its threshold
    ├── ConflictError      8   the version exists with other content
    ├── StoppedError       9   stopped by the user; the same command continues
    ├── MachineError       10  this machine cannot do it
    ├── NetworkError       11
    └── PublishError       12

A message says what happened, why it matters and what to type next.
"""

from typing import ClassVar


class GraftsmithError(Exception):
    """The root of the tree; ``code`` is the process's exit code."""

    code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.hint and f"→ {self.hint}") if part)


class UsageError(GraftsmithError):
    """What was typed cannot be done."""

    code = 2


class ConfigError(GraftsmithError):
    """A file that people write is wrong: file, key, expected, got."""

    code = 3


class LockError(GraftsmithError):
    """The lock is missing, unresolved or out of step with the recipe."""

    code = 4


class BuildError(GraftsmithError):
    """A step failed."""

    code = 5


class ProofError(GraftsmithError):
    """A claim of the release does not hold in its bytes."""

    code = 6


class GateError(GraftsmithError):
    """A measured figure is missing or outside its threshold."""

    code = 7


class ConflictError(GraftsmithError):
    """The version is already released with other content."""

    code = 8


class StoppedError(GraftsmithError):
    """The user stopped it. Finished steps stay in the store."""

    code = 9


class MachineError(GraftsmithError):
    """The machine lacks something: disk, isolation, a driver."""

    code = 10


class NetworkError(GraftsmithError):
    """A server did not answer, or answered wrongly."""

    code = 11


class PublishError(GraftsmithError):
    """A repo could not be written or does not hold what was sent."""

    code = 12
