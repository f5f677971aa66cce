"""The local engine runs a real step, isolated, and lets nothing of it live on."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.formats.progress import Update
from release.closure import Code
from release.derivation import Step
from release.digest import Tree
from release.engines import environment, landlock, outcome
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

needs_processes = pytest.mark.skipif(
    subprocess.run(
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True,
        check=False,
    ).returncode
    != 0,
    reason="this host allows no process namespaces",
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
    # Where the step has a process namespace the host's processes are not even there.
    with pytest.raises(BuildError, match=r"PermissionError|FileNotFoundError"):
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
    monkeypatch.setenv(outcome.REQUIRE, "1")
    with pytest.raises(MachineError, match="does not allow isolation of network"):
        outcome.demand({"network": "none: Operation not permitted", "filesystem": "landlock 4"}, "")


def test_a_steps_own_message_and_class_reach_the_user(bench: Bench) -> None:
    with pytest.raises(ProofError, match=r"step: mtp\.fc differs"):
        bench.run("raise StepError('mtp.fc differs', Exit.PROOF)")


def test_a_crash_shows_the_end_of_the_log(bench: Bench) -> None:
    with pytest.raises(BuildError, match="ZeroDivisionError"):
        bench.run("1 / 0")


def test_the_log_that_is_named_holds_what_the_steps_own_programs_logged(bench: Bench) -> None:
    with pytest.raises(BuildError, match="the whole log is"):
        bench.run(
            "folder = work.root / 'state'; (folder / 'server.log').write_text('libnuma is missing')\n"
            f"(folder / 'other.log').symlink_to({str(bench.secret)!r})\n"
            "raise StepError('the server died', Exit.BUILD)"
        )
    log = (bench.store.root / "log").read_text()
    assert "== server.log\nlibnuma is missing" in log
    assert "nobody named me" not in log, "a step may not have the host read for it"


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
        subprocess.Popen(['sleep', '300.25'], start_new_session=True)
    """
    bench.run(body)
    assert not processes("sleep 300.25")


@needs_processes
def test_a_step_sees_no_process_but_its_own(bench: Bench) -> None:
    body = """
        seen = [name for name in os.listdir('/proc') if name.isdigit()]
        work.new('seen.txt').write_text(' '.join(sorted(seen)))
    """
    report = bench.run(body)
    assert (bench.out / "seen.txt").read_text() == "1 2"
    assert report.isolation["processes"] == "own processes"


@needs_processes
def test_shared_memory_ends_with_the_step(bench: Bench) -> None:
    bench.run("open('/dev/shm/graftsmith-test', 'w').write('x')")
    assert not Path("/dev/shm/graftsmith-test").exists()  # noqa: S108


def test_a_host_that_allows_no_process_namespace_still_runs_and_says_so(tmp_path: Path) -> None:
    # In a user namespace of its own, the limit can be set without touching the machine's.
    script = textwrap.dedent(f"""
        from pathlib import Path
        Path('/proc/sys/user/max_pid_namespaces').write_text('0')
        from tests.unit.engines.test_local import *
        environment.provide = lambda *_: environment.Environment(Path(sys.prefix))
        body = "import subprocess; subprocess.Popen(['sleep', '300.75'], start_new_session=True)"
        print(Bench(Path({str(tmp_path)!r})).run(body).isolation['processes'])
        assert not processes('sleep 300.75')
    """)
    wrapped = ["unshare", "--user", "--map-root-user", sys.executable, "-c", script]
    lenient = {name: value for name, value in os.environ.items() if name != outcome.REQUIRE}
    done = subprocess.run(wrapped, cwd=PROJECT, env=lenient, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"this host allows no user namespace: {done.stderr.strip()}")
    assert done.stdout == "none: a limit in /proc/sys/user is reached\n", done.stderr


class Killed:
    """A release of one step that waits, in a process of its own, so that SIGKILL can hit it."""

    def __init__(self, root: Path, marker: str) -> None:
        body = f"""
            import subprocess
            subprocess.Popen(['sleep', '{marker}'], start_new_session=True)
            (work.state / 'runs').touch()
            subprocess.run(['sleep', '{marker}'])
        """
        script = textwrap.dedent(f"""
            from release.errors import GraftsmithError
            from tests.unit.engines.test_local import *
            environment.provide = lambda *_: environment.Environment(Path(sys.prefix))
            try:
                Bench(Path({str(root)!r})).run({textwrap.dedent(body)!r})
            except GraftsmithError as error:
                print(error)
                sys.exit(error.code)
        """)
        self.root = root
        self.marker = f"sleep {marker}"
        self.host = subprocess.Popen(
            [sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )
        self._wait(lambda: len(processes(self.marker)) == 2, seconds=20)

    @property
    def supervisor(self) -> int:
        """The process that the release started."""
        return int(Path(f"/proc/{self.host.pid}/task/{self.host.pid}/children").read_text())

    @property
    def step(self) -> int:
        """The step's own process; the supervisor and init have the step's command in their own."""
        mine = [pid for pid in processes("--root") if str(self.root).encode() in command(pid)]
        return next(pid for pid in mine if b"sandbox.py" not in command(pid))

    def ends(self) -> str:
        """Return what the release said at its end; two seconds later nothing of it may be left."""
        said, _ = self.host.communicate(timeout=20)
        self._wait(lambda: not processes(self.marker) and not self._locked(), seconds=2)
        return said

    def _locked(self) -> bool:
        with (self.root / "store" / "locks" / ("k" * 64)).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _wait(self, right: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not right():
            assert time.monotonic() < deadline, "it is not so yet"
            time.sleep(0.02)


@needs_processes
@pytest.mark.parametrize("victim", ["host", "supervisor", "step"])
def test_nothing_outlives_a_kill_and_the_next_run_is_fine(
    tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Killed(tmp_path, f"300.{['host', 'supervisor', 'step'].index(victim)}1")
    pids = {"host": killed.host.pid, "supervisor": killed.supervisor, "step": killed.step}
    os.kill(pids[victim], signal.SIGKILL)
    said = killed.ends()
    match victim:
        case "host":
            assert killed.host.returncode == -signal.SIGKILL
        case "supervisor":
            assert "step: its supervisor was ended by signal 9" in said
            assert killed.host.returncode == BuildError.code
        case _:
            assert "step ended with signal 9" in said
            assert killed.host.returncode == BuildError.code
    here = environment.Environment(Path(sys.prefix))
    monkeypatch.setattr(environment, "provide", lambda *_: here)
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(tmp_path / "in")
    assert Bench(tmp_path).run("work.new('x').write_text('x')").engine == "local"


def processes(marker: str) -> list[int]:
    """Return the processes whose command line holds ``marker``."""
    found = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in found if marker.encode() in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return b""
