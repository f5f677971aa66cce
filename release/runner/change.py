"""A change of the host, named before it is made. Making one twice leaves what once left."""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release.errors import MachineError

TIMEOUT_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile:
    """Write a file that is ours alone, whole."""

    path: Path
    text: str

    def words(self) -> str:
        """Name the change."""
        return f"write {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run a command of the system."""

    argv: tuple[str, ...]

    def words(self) -> str:
        """Name the change: what one would type."""
        return shlex.join(self.argv)


Change = WriteFile | Run


def make(changes: Iterable[Change], say: Callable[[str], None], under: Path = Path("/")) -> None:
    """Make ``changes`` in their order, each named before; files lie below ``under``.

    Raises MachineError with what the system said; what was made before stays, and the same
    command goes on from there.
    """
    for change in changes:
        say(f"  {change.words()}")
        match change:
            case WriteFile():
                _write(change, under / change.path.relative_to("/"))
            case Run():
                _run(change.argv)


def _write(change: WriteFile, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.new")
        partial.write_text(change.text, encoding="utf-8")
        partial.chmod(0o644)
        partial.rename(path)
    except OSError as error:
        raise MachineError(f"{change.words()}: {error.strerror}", hint="run it as root: sudo") from error


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{shlex.join(argv)}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise MachineError(
            f"{shlex.join(argv)} ended with {done.returncode}:\n{said}",
            hint="mend that, then run the same command again: what is done is not done twice",
        )
