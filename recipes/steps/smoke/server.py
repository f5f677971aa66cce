"""One model server as a child process: started, waited for, and always stopped.

    with serving(argv, env, log, port, timeout_s=300) as server:
        server.get("/metrics")

The child stays in this process's group and session: whoever ends the step by its
group ends the server with it.
"""

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import descendants, loopback

TAIL_LINES = 15
POLL_S = 0.25
PROBE_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
DIED = "the server died while starting"
GONE_S = 1.0  # a connection is refused a moment before the process is gone

# What to send and how long to wait for its effect; the last cannot be refused.
STOP = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers. ``ready_s`` is the time from its start to the first answer."""

    port: int
    log: Path
    ready_s: float

    def get(self, path: str) -> str:
        """Return the text at ``path``. Raises StepError unless the status is 200."""
        try:
            status, text = loopback.get(self.port, path, ANSWER_TIMEOUT_S)
        except (OSError, http.client.HTTPException) as error:
            raise StepError(f"the server did not answer on {path}: {error!r}\n{self.tail()}") from error
        if status != http.client.OK:
            raise StepError(f"the server answered {status} on {path}\n{self.tail()}")
        return text

    def log_text(self) -> str:
        """Return everything that the server has logged so far."""
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        """Return the end of the server's log, for an error message."""
        return log_tail(self.log)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((loopback.HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    argv: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    port: int,
    timeout_s: float,
    waiting: Callable[[float], None] = lambda _: None,
) -> Iterator[Server]:
    """Start ``argv``, yield it when ``/health`` answers 200, and stop it in the end.

    ``waiting`` is called with the seconds waited so far. Raises StepError with the
    end of the log when the process dies or is not healthy within ``timeout_s``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with descendants.ended():
        with log.open("wb") as sink:
            process = subprocess.Popen(
                argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
            )
        try:
            ready_s = _wait_healthy(process, port, log, timeout_s, waiting)
            yield Server(port=port, log=log, ready_s=ready_s)
        except StepError as error:
            raise _told_of_its_end(process, error) from error
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` by its pid, politely first; returns when it is gone."""
    for sign, patience in STOP:
        if process.poll() is not None:
            return
        process.send_signal(sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def log_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last ``lines`` of ``log``, each cut to a readable length."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(["the server's log ends with:", *(f"  {line[:300]}" for line in text)])


def _told_of_its_end(process: subprocess.Popen[bytes], error: StepError) -> StepError:
    """Return ``error``, with how the server ended when that is what lies behind it."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(GONE_S)
    code = process.returncode
    if code is None or str(error).startswith(DIED):
        return error
    how = f"was ended by signal {-code}" if code < 0 else f"died with exit code {code}"
    return StepError(f"the server {how} while it was measured: {error}", error.code)


def _wait_healthy(
    process: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float, waiting: Callable[[float], None]
) -> float:
    start = time.monotonic()
    while not _healthy(port):
        waited = time.monotonic() - start
        if process.poll() is not None:
            raise StepError(
                f"{DIED}, exit code {process.returncode}\n{log_tail(log)}",
                Exit.BUILD,
            )
        if waited > timeout_s:
            raise StepError(
                f"the server was not ready after {timeout_s:g} s. If this machine is only slow, raise "
                f"startup_timeout_s in recipe.toml\n{log_tail(log)}",
                Exit.ENVIRONMENT,
            )
        waiting(waited)
        time.sleep(POLL_S)
    return time.monotonic() - start


def _healthy(port: int) -> bool:
    try:
        return loopback.get(port, "/health", PROBE_TIMEOUT_S)[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
