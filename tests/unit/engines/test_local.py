"""The local engine runs a real step, isolated, and lets nothing of it live on."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from recipes.formats.progress import Update
from release.closure import Code
from release.derivation import Step
from release.digest import Tree
from release.engines import environment, landlock
from release.engines.local import LocalEngine
from release.errors import BuildError, MachineError, ProofError
from release.hoststep import Input
from release.images import Image
from release.realize import Job, Report
from release.store import Store

PROJECT = Path(__file__).resolve().parents[3]

needs_landlock = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
needs_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0
    and subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode
    != 0,
    reason="this host allows no network namespaces",
)


class Bench:
    """A local engine whose image is the interpreter that runs the tests."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "store")
        self.updates: list[Update] = []
        (root / "in").mkdir()
        (root / "in" / "x.txt").write_text("input")
        self.input = Input(root / "in", Tree({}))
        self.secret = root / "secret.txt"
        self.secret.write_text("nobody named me")

    def run(self, body: str, **step: object) -> Report:
        """Run a step whose main is ``body``; ``work`` is its Workdir."""
        image = Image(
            name="test",
            variant="cpu",
            folder=PROJECT,
            context=Tree({}),
            lock=PROJECT,
            overlay=None,
            env={"X": "1"},
            notes={},
        )
        engine = LocalEngine(store=self.store, images={"test": image}, code_of=lambda _: code(body))
        scratch = self.store.scratch("k" * 64)
        for name in ("in", "out", "state"):
            (scratch / name).mkdir(parents=True, exist_ok=True)
        (scratch / "params.json").write_text("{}")
        with self.store.lock("k" * 64) as lock:
            return engine.run(
                Job(
                    step=Step(name="step", does="do", image="test", **step),  # type: ignore[arg-type]
                    inputs={"some": self.input},
                    scratch=scratch,
                    log=self.store.root / "log",
                    lock_fd=lock.fd,
                    progress=self.updates.append,
                )
            )

    @property
    def out(self) -> Path:
        """Where the step wrote."""
        return self.store.scratch("k" * 64) / "out"


def code(body: str) -> Code:
    files = {
        name: (PROJECT / name).read_bytes()
        for name in (
            "recipes/__init__.py",
            "recipes/formats/__init__.py",
            "recipes/formats/step.py",
            "recipes/formats/progress.py",
        )
    }
    text = "from recipes.formats.step import *\nfrom recipes.formats import progress\nimport os, sys\n"
    text += "def main(work):\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\nrun(main)\n"
    return Code({**files, "__main__.py": text.encode()})


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    here = environment.Environment(Path(sys.prefix))
    monkeypatch.setattr(environment, "provide", lambda *_: here)
    return Bench(tmp_path)


def test_a_step_reads_its_input_and_writes_its_result(bench: Bench) -> None:
    bench.run("work.new('y.txt').write_text((work.input('some') / 'x.txt').read_text() + ' read')")
    assert (bench.out / "y.txt").read_text() == "input read"
    assert (bench.out / "tree.json").is_file()


def test_prints_go_to_the_log_and_progress_to_the_host(bench: Bench) -> None:
    bench.run("print('chatter'); progress.update('packing', 1, 2, 'groups')")
    assert bench.updates == [Update(at="packing", done=1, total=2, unit="groups")]
    assert "chatter" in (bench.store.root / "log").read_text()


def test_nothing_of_the_callers_environment_comes_through(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    bench.run("work.new('env.txt').write_text(repr(dict(os.environ)))")
    text = (bench.out / "env.txt").read_text()
    assert "hf_secret" not in text
    assert "'X': '1'" in text


@needs_landlock
def test_an_undeclared_file_cannot_be_read(bench: Bench) -> None:
    with pytest.raises(BuildError, match="PermissionError"):
        bench.run(f"open({str(bench.secret)!r}).read()")


@needs_landlock
def test_an_input_cannot_be_written(bench: Bench) -> None:
    with pytest.raises(BuildError, match="PermissionError"):
        bench.run("(work.input('some') / 'x.txt').write_text('changed')")
    assert (bench.input.folder / "x.txt").read_text() == "input"


@needs_landlock
def test_the_token_of_the_host_process_cannot_be_read(bench: Bench) -> None:
    with pytest.raises(BuildError, match="PermissionError"):
        bench.run(f"open('/proc/{os.getpid()}/environ').read()")


@needs_namespaces
def test_only_loopback_is_there(bench: Bench) -> None:
    body = """
        import socket
        names = [name for _, name in socket.if_nameindex()]
        server = socket.create_server(('127.0.0.1', 0))
        socket.create_connection(server.getsockname()).close()
        try:
            socket.create_connection(('192.0.2.1', 80), timeout=2)
        except OSError as error:
            names.append(error.strerror or 'timed out')
        work.new('net.txt').write_text(' '.join(names))
    """
    report = bench.run(body)
    assert (bench.out / "net.txt").read_text() == "lo Network is unreachable"
    assert report.isolation["network"] == "loopback only"


def test_missing_isolation_is_an_error_where_it_is_demanded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from release.engines import local

    monkeypatch.setenv(local.REQUIRE, "1")
    with pytest.raises(MachineError, match="does not allow isolation of network"):
        local._demand({"network": "none: Operation not permitted", "filesystem": "landlock 4"})


def test_a_steps_own_message_and_class_reach_the_user(bench: Bench) -> None:
    with pytest.raises(ProofError, match=r"step: mtp\.fc differs"):
        bench.run("raise StepError('mtp.fc differs', Exit.PROOF)")


def test_a_crash_shows_the_end_of_the_log(bench: Bench) -> None:
    with pytest.raises(BuildError, match="ZeroDivisionError"):
        bench.run("1 / 0")


def test_a_step_killed_by_a_signal_says_so(bench: Bench) -> None:
    with pytest.raises(BuildError, match="signal 9"):
        bench.run("os.kill(os.getpid(), 9)")


def test_a_step_that_takes_too_long_is_ended(bench: Bench) -> None:
    began = time.monotonic()
    with pytest.raises(BuildError, match="longer than 1 s"):
        bench.run("import time; time.sleep(60)", timeout_s=1)
    assert time.monotonic() - began < 15


def test_a_daemon_that_a_step_leaves_behind_is_ended(bench: Bench) -> None:
    body = """
        import subprocess
        child = subprocess.Popen(['sleep', '300'], start_new_session=True)
        work.new('pid.txt').write_text(str(child.pid))
    """
    bench.run(body)
    assert not alive(int((bench.out / "pid.txt").read_text()))


def test_no_process_outlives_a_killed_host(tmp_path: Path) -> None:
    # The host is a process of its own here, so that SIGKILL can hit it.
    body = """
        import subprocess, time
        child = subprocess.Popen(['sleep', '300'])
        (work.state / 'pids').write_text(f'{os.getpid()} {child.pid}')
        time.sleep(300)
    """
    script = f"""
import sys
from pathlib import Path
from release.engines import environment
from tests.unit.engines.test_local import Bench
environment.provide = lambda *_: environment.Environment(Path(sys.prefix))
Bench(Path({str(tmp_path)!r})).run({body!r})
"""
    host = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT)
    pids = read_pids(tmp_path / "store" / "scratch" / ("k" * 64) / "state" / "pids")
    host.send_signal(signal.SIGKILL)
    host.wait()
    deadline = time.monotonic() + 2
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def read_pids(file: Path) -> list[int]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if file.is_file() and file.read_text():
            return [int(pid) for pid in file.read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the step did not start")


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
