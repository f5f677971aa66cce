"""The local engine: a step in its image's environment, isolated as far as the host allows.

Same steps, same keys and same bytes as in a container; what isolation was had is
recorded in the realization.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import IO

from release.closure import Code
from release.digest import sha256_bytes
from release.engines import environment, outcome
from release.errors import BuildError, GraftsmithError, MachineError, StoppedError
from release.images import Image
from release.realize import Job, Report
from release.store import Store
from release.store.trace import Kind, point

SANDBOX = Path(__file__).with_name("sandbox.py")
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/opt")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/shm")  # noqa: S108


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """Runs the steps of ``images`` on this machine."""

    store: Store
    images: Mapping[str, Image]
    code_of: Callable[[str], Code]

    def run(self, job: Job) -> Report:
        """Run one step to its end. Raises the error class that its exit code names."""
        image = self.images[job.step.image or ""]
        env = environment.provide(image, self.store, job.progress)
        self.code_of(job.step.does).write(job.scratch / "code")
        for name, item in job.inputs.items():
            (job.scratch / "in" / name).symlink_to(item.folder)
        with _temporary(job.scratch) as home:
            argv = [str(env.python), "-I", str(job.scratch / "code"), "--root", str(job.scratch)]
            spec = {
                "argv": argv,
                "env": _environment(env.folder, home, image.env),
                "cwd": str(home),
                "read": _readable(job, env.folder),
                "write": [str(job.scratch / "out"), str(job.scratch / "state"), str(home), *DEVICES],
                "parent": os.getpid(),
            }
            isolation = _supervise(job, spec)
        return Report(engine="local", isolation=isolation)


def _readable(job: Job, env: Path) -> list[str]:
    own = (job.scratch / "code", job.scratch / "in", job.scratch / "params.json")
    paths = [env, Path(sys.base_prefix), *own, *(item.folder for item in job.inputs.values())]
    return [*SYSTEM, *(str(path.resolve()) for path in paths)]


def _environment(env: Path, home: Path, image: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a step: nothing of the caller's comes through."""
    return {
        "PATH": f"{env / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "USER": "graftsmith",
        "LOGNAME": "graftsmith",
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **image,
    }


@contextlib.contextmanager
def _temporary(scratch: Path) -> Iterator[Path]:
    """Give a step its home: short (sockets allow 107 characters), and gone after.

    A killed release leaves it behind; the next try of the same step removes it.
    """
    folder = Path(tempfile.gettempdir()) / f"gs-{os.getuid()}-{sha256_bytes(os.fsencode(scratch))[:12]}"
    if folder.is_symlink():
        raise MachineError(f"{folder} is a link that graftsmith did not make", hint="remove it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _supervise(job: Job, spec: Mapping[str, object]) -> Mapping[str, str]:
    """Start the sandbox, follow its output, and return the isolation it reports."""
    with job.log.open("wb") as log:
        with point(Kind.START, job.step.name):
            process = subprocess.Popen(
                [sys.executable, "-I", str(SANDBOX), json.dumps(spec)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(job.lock_fd,),
                start_new_session=True,
                text=True,
            )
        job.started(process.pid)
        timed_out = Event()
        timer = Timer(job.step.timeout_s, _time_out, (process, timed_out))
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout is not None
            isolation, message = _follow(process.stdout, job)
            with point(Kind.END, job.step.name):
                code = process.wait()
        except BaseException as error:
            _stop(process)
            if isinstance(error, KeyboardInterrupt):
                raise StoppedError(
                    f"{job.step.name} was stopped", hint="the same command continues where this one was"
                ) from error
            raise
        finally:
            timer.cancel()
            if process.stdout is not None:
                process.stdout.close()
    if timed_out.is_set():
        raise outcome.timed_out(job)
    if code != 0:
        raise _failure(job, code, message)
    return isolation


def _time_out(process: "subprocess.Popen[str]", timed_out: Event) -> None:
    timed_out.set()
    process.terminate()


def _follow(lines: IO[str], job: Job) -> tuple[Mapping[str, str], str]:
    """Pass progress on until the step closes its end; return isolation and error text."""
    isolation: Mapping[str, str] = {}
    message = ""
    for line in lines:
        if line.startswith('{"isolation"'):
            isolation = json.loads(line)["isolation"]
            outcome.demand(
                isolation, "allow unprivileged user namespaces and Landlock, or use --engine docker"
            )
            continue
        message = outcome.hear(line, job, message)
    return isolation, message


def _stop(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()


def _failure(job: Job, code: int, message: str) -> GraftsmithError:
    if code < 0 and not outcome.disk_is_full(job, message):
        return BuildError(
            f"{job.step.name}: its supervisor was ended by signal {-code}, and the step with it",
            why="Something outside of the release did that; what was finished stays in the store.",
            hint="run the same command again; if memory was short, the kernel's log says so",
        )
    return outcome.failure(job, code, message)
