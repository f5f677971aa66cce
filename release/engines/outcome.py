"""What a step says while it runs, and what its end means; the same on every engine."""

import contextlib
import os
import shutil
from collections.abc import Mapping

from recipes.formats import progress
from recipes.formats.step import Exit
from release.errors import BuildError, ConfigError, GraftsmithError, MachineError, ProofError
from release.realize import Job
from release.store import durable

REQUIRE = "GRAFTSMITH_REQUIRE_ISOLATION"
TAIL = 3000
MOST_OF_A_LOG = 8 << 20
FULL_DISK = ("No space left on device", "Disk quota exceeded")
NO_ROOM = 1 << 16

ERROR_OF_EXIT: Mapping[int, type[GraftsmithError]] = {
    Exit.CONFIG: ConfigError,
    Exit.BUILD: BuildError,
    Exit.PROOF: ProofError,
    Exit.ENVIRONMENT: MachineError,
}


def demand(isolation: Mapping[str, str], hint: str) -> None:
    """Refuse a run that is isolated less than was asked for. Raises MachineError."""
    missing = [f"{kind} ({how})" for kind, how in isolation.items() if how.startswith("none")]
    if missing and os.environ.get(REQUIRE):
        raise MachineError(
            f"this host does not allow isolation of {', '.join(missing)}",
            why=f"{REQUIRE} is set, so a step must not run without it.",
            hint=hint,
        )


def hear(line: str, job: Job, message: str) -> str:
    """Pass a line of progress on; return the error text that was said so far."""
    match progress.parse(line):
        case progress.Update() as update:
            job.progress(update)
        case str(text):
            return text
        case None:
            pass
    return message


def failure(job: Job, code: int, message: str) -> GraftsmithError:
    """Return the error of a step that ended with ``code`` (128 + n for signal n)."""
    if disk_is_full(job, message):
        return durable.full_disk(job.scratch)
    _append_logs(job)
    kind = ERROR_OF_EXIT.get(code, BuildError)
    if message:
        return kind(f"{job.step.name}: {message}", hint=f"the whole log is {job.log}")
    how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    return kind(
        f"{job.step.name} ended with {how}; the end of its log:\n{tail(job)}",
        hint=f"the whole log is {job.log}",
    )


def _append_logs(job: Job) -> None:
    """Put what the programs of a failed step logged into its log: scratch is cleared by the next run."""
    with contextlib.suppress(OSError), job.log.open("ab") as whole:
        for path in sorted((job.scratch / "state").glob("*.log")):
            if not path.is_symlink() and path.is_file():  # a step may not have the host read for it
                whole.write(f"\n== {path.name}\n".encode() + path.read_bytes()[-MOST_OF_A_LOG:])


def timed_out(job: Job) -> BuildError:
    """Return the error of a step that took too long."""
    return BuildError(f"{job.step.name} took longer than {job.step.timeout_s} s", hint=f"see {job.log}")


def tail(job: Job) -> str:
    """Return the end of what the step printed."""
    return job.log.read_bytes()[-TAIL:].decode(errors="replace").strip()


def disk_is_full(job: Job, message: str) -> bool:
    """Tell whether a step failed for want of room; a full disk may have no room for its log either."""
    said = any(text in message + tail(job) for text in FULL_DISK)
    return said or shutil.disk_usage(job.scratch).free < NO_ROOM
