"""Starting, waiting for and stopping a real child process that speaks HTTP."""

import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import server
from recipes.steps.smoke.server import Server

ANSWERING = """
import http.server, sys, os, time

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = {"/health": b"", "/pid": str(os.getpid()).encode()}
        self.send_response(200 if self.path in known else 404)
        self.end_headers()
        self.wfile.write(known.get(self.path, b""))

print("model loaded", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""

DYING = "print('loading'); raise SystemExit('ValueError: mtp.fc.weight has the wrong shape')"

DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("warming up", flush=True)
time.sleep(60)
"""


def start(script: str, log: Path, timeout_s: float = 20.0) -> AbstractContextManager[Server]:
    port = server.free_port()
    argv = [sys.executable, "-I", "-c", script, str(port)]
    return server.serving(argv, os.environ, log, port, timeout_s)


def test_a_healthy_server_is_yielded_and_is_gone_afterwards(tmp_path: Path) -> None:
    with start(ANSWERING, tmp_path / "server.log") as running:
        pid = int(running.get("/pid"))
        assert os.getpgid(pid) == os.getpgid(0)
        assert os.getsid(pid) == os.getsid(0)
        assert 0 < running.ready_s < 20
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_is_stopped_when_the_measuring_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="measuring"), start(ANSWERING, tmp_path / "server.log") as running:
        pid = int(running.get("/pid"))
        raise RuntimeError("measuring failed")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_a_killed_server_started_is_ended_too(tmp_path: Path) -> None:
    # As vLLM does: the work is done by a process that does not notice the end of its parent.
    helper = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
"""
    log = tmp_path / "server.log"
    with (
        pytest.raises(StepError, match="the server was ended by signal 9"),
        start(helper + ANSWERING, log) as running,
    ):
        child = int(running.log_text().split()[0])
        os.kill(int(running.get("/pid")), 9)
        running.get("/pid")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_another_status_is_an_error_with_the_end_of_the_log(tmp_path: Path) -> None:
    with (
        start(ANSWERING, tmp_path / "server.log") as running,
        pytest.raises(StepError, match=r"(?s)answered 404 on /metrics.*model loaded"),
    ):
        running.get("/metrics")


def test_a_server_that_is_gone_is_an_error_with_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("Killed")
    gone = Server(port=server.free_port(), log=tmp_path / "server.log", ready_s=1.0)
    with pytest.raises(StepError, match=r"(?s)did not answer on /metrics: .*Killed"):
        gone.get("/metrics")


def test_a_server_that_dies_early_is_quoted(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(StepError, match=r"(?s)died while starting, exit code 1.*mtp.fc.weight has the wrong"),
        start(DYING, tmp_path / "server.log"),
    ):
        pytest.fail("it was never healthy")
    assert time.monotonic() - began < 15


def test_a_server_that_is_never_healthy_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP", tuple((sign, 0.2) for sign, _ in server.STOP))
    with (
        pytest.raises(StepError, match=r"(?s)not ready after 1 s.*startup_timeout_s.*warming up") as caught,
        start(DEAF, tmp_path / "server.log", timeout_s=1.0),
    ):
        pytest.fail("it was never healthy")
    assert caught.value.code is Exit.ENVIRONMENT


def test_a_process_that_ignores_signals_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP", tuple((sign, 0.2) for sign, _ in server.STOP))
    with subprocess.Popen([sys.executable, "-I", "-c", DEAF], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.stop(process)
        assert process.poll() == -9


def test_the_tail_is_short_however_long_the_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("".join(f"line {n} {'x' * 1000}\n" for n in range(1000)))
    tail = server.log_tail(log)
    assert "line 999" in tail
    assert "line 900" not in tail
    assert len(tail) < 6000
