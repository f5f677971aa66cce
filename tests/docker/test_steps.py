"""The Docker engine runs a real step, locked down, and lets nothing of it live on."""

import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.formats.progress import Update
from release.closure import Code
from release.derivation import Step
from release.digest import Tree
from release.engines import daemon, reaper
from release.engines.docker import DockerEngine
from release.errors import BuildError, MachineError, ProofError
from release.hoststep import Input
from release.images import Image
from release.realize import Job, Report
from release.store import Store
from tests.docker import images
from tests.docker.conftest import Workshop

PROJECT = Path(__file__).resolve().parents[2]
KEY = "c" * 64
TREES = ("recipes/__init__.py", "recipes/formats/__init__.py")
STEP = (*TREES, "recipes/formats/step.py", "recipes/formats/progress.py")

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


class Bench:
    """The engine, on a step whose main is given."""

    def __init__(self, store: Store, image: Image, root: Path) -> None:
        self.store, self.image, self.root = store, image, root
        self.updates: list[Update] = []
        (root / "in").mkdir(exist_ok=True)
        (root / "in" / "x.txt").write_text("input")

    def run(self, body: str, **step: object) -> Report:
        """Run a step whose main is ``body``; ``work`` is its Workdir."""
        engine = DockerEngine(store=self.store, images={"test": self.image}, code_of=lambda _: code(body))
        for name in ("in", "out", "state"):
            (self.scratch / name).mkdir(parents=True, exist_ok=True)
        (self.scratch / "params.json").write_text("{}")
        with self.store.lock(KEY) as lock:
            return engine.run(
                Job(
                    step=Step(name="step", does="do", image="test", **step),  # type: ignore[arg-type]
                    inputs={"some": Input(self.root / "in", Tree({}))},
                    scratch=self.scratch,
                    log=self.root / "log",
                    lock_fd=lock.fd,
                    progress=self.updates.append,
                )
            )

    @property
    def scratch(self) -> Path:
        """The step's folder."""
        return self.store.scratch(KEY)

    def said(self, body: str) -> str:
        """Run ``body``, in which ``say`` keeps a line, and return the lines."""
        kept = "work.new('said.txt').write_text('\\n'.join(lines))"
        self.run(f"lines = []; say = lines.append\n{textwrap.dedent(body)}\n{kept}")
        return (self.scratch / "out" / "said.txt").read_text()


def code(body: str) -> Code:
    text = "from recipes.formats.step import *\nfrom recipes.formats import progress\nimport os, sys\n"
    text += "def main(work):\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\nrun(main)\n"
    return Code({**{name: (PROJECT / name).read_bytes() for name in STEP}, "__main__.py": text.encode()})


@pytest.fixture
def bench(workshop: Workshop, tmp_path: Path) -> Bench:
    image = images.image_of(workshop.folder, workshop.store).in_container()
    return Bench(workshop.store, image, tmp_path)


def test_a_step_reads_its_input_and_writes_its_result(bench: Bench) -> None:
    report = bench.run("work.new('y.txt').write_text((work.input('some') / 'x.txt').read_text() + ' read')")
    written = bench.scratch / "out" / "y.txt"
    assert written.read_text() == "input read"
    assert written.stat().st_uid == bench.store.root.stat().st_uid
    assert report.isolation["network"] == "loopback only"
    assert report.isolation["privileges"] == "no capabilities"
    assert not any(how.startswith("none") for how in report.isolation.values())


def test_prints_go_to_the_log_and_progress_to_the_host(bench: Bench) -> None:
    bench.run("print('chatter'); progress.update('packing', 1, 2, 'groups')")
    assert bench.updates == [Update(at="packing", done=1, total=2, unit="groups")]
    assert "chatter" in (bench.root / "log").read_text()


def test_nothing_of_the_callers_environment_comes_through(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    said = bench.said("say(repr(dict(os.environ)))")
    assert "hf_secret" not in said
    assert "'HF_HUB_OFFLINE': '1'" in said


def test_only_its_own_folders_can_be_written(bench: Bench) -> None:
    said = bench.said("""\
        for place in ('/', '/etc', '/opt/env', '/step', '/step/in/some', '/step/code', '/tmp', '/cache'):
            try:
                open(place + '/new', 'w').close(); say('written ' + place)
            except OSError as error:
                say('refused ' + place)
    """)
    assert [line for line in said.split("\n") if line.startswith("written")] == [
        "written /tmp",
        "written /cache",
    ]
    assert [path.name for path in (bench.root / "in").iterdir()] == ["x.txt"]


def test_a_program_of_its_own_runs_from_its_cache(bench: Bench) -> None:
    said = bench.said("""\
        import shutil, subprocess
        shutil.copy('/bin/true', '/cache/compiled')
        say(str(subprocess.call(['/cache/compiled'])))
    """)
    assert said == "0"


def test_there_is_loopback_and_no_other_network(bench: Bench) -> None:
    said = bench.said("""\
        import socket
        server = socket.create_server(('127.0.0.1', 0))
        socket.create_connection(server.getsockname()).close(); say('loopback')
        try:
            socket.create_connection(('1.1.1.1', 53), timeout=3)
        except OSError as error:
            say(os.strerror(error.errno))
    """)
    assert said == "loopback\nNetwork is unreachable"


def test_it_has_no_capability_a_name_and_the_owners_id(bench: Bench) -> None:
    said = bench.said("""\
        import pwd
        say(pwd.getpwuid(os.getuid()).pw_dir); say(str(os.getuid()))
        found = open('/proc/self/status').read().splitlines()
        status = dict(line.split(':\\t') for line in found if ':\\t' in line)
        say(status['CapEff'] + status['CapBnd']); say(status['NoNewPrivs'])
    """)
    home, uid, capabilities, privileges = said.split("\n")
    assert (home, uid) == ("/cache/home", str(bench.store.root.stat().st_uid))
    assert (set(capabilities), privileges) == ({"0"}, "1")


def test_a_failure_has_the_class_of_its_exit_code_and_its_words(bench: Bench) -> None:
    with pytest.raises(ProofError, match="step: the head differs"):
        bench.run("raise StepError('the head differs', Exit.PROOF)")
    with pytest.raises(BuildError, match="exit code 7"):
        bench.run("sys.exit(7)")


def test_want_of_memory_is_no_failure_of_the_step(bench: Bench) -> None:
    assert bench.image.container is not None
    limits = replace(bench.image.container.limits, memory=64 << 20)
    bench.image = replace(bench.image, container=replace(bench.image.container, limits=limits))
    with pytest.raises(MachineError, match="ran out of memory"):
        bench.run("held = [b'x' * (1 << 20) for _ in range(256)]")


def test_a_step_that_takes_too_long_is_ended(bench: Bench) -> None:
    with pytest.raises(BuildError, match="longer than 2 s"):
        bench.run("import time; time.sleep(60)", timeout_s=2)
    assert containers(KEY) == []


def test_a_gpu_that_is_not_there_is_said(bench: Bench) -> None:
    if Path("/proc/driver/nvidia").is_dir():
        pytest.skip("this machine has a GPU")
    assert bench.image.container is not None
    bench.image = replace(bench.image, container=replace(bench.image.container, gpu=True))
    with pytest.raises(MachineError, match=r"no GPU to give(.|\n)*nvidia-container-toolkit"):
        bench.run("pass")


def test_an_image_that_is_not_built_is_said(bench: Bench) -> None:
    assert bench.image.container is not None
    other = replace(bench.image.container, source_date_epoch=1)
    bench.image = replace(bench.image, container=other)
    with pytest.raises(BuildError, match="invoke build-image --name quantize --variant cpu"):
        bench.run("pass")


def test_a_container_does_not_outlive_a_killed_release(bench: Bench) -> None:
    script = f"""
import sys
from pathlib import Path
from release.store import Store
from tests.docker.images import image_of
from tests.docker.test_steps import Bench
store = Store(Path({str(bench.store.root)!r}))
image = image_of(Path({str(bench.image.folder.parent)!r}), store).in_container()
Bench(store, image, Path({str(bench.root)!r})).run("print('up', flush=True); import time; time.sleep(300)")
"""
    release = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT)
    log = bench.root / "log"
    wait_for(lambda: log.is_file() and "up" in log.read_text())
    assert len(containers(KEY)) == 1
    release.send_signal(signal.SIGKILL)
    release.wait()
    wait_for(lambda: running(KEY) == [])
    bench.run("pass")  # takes the key, and reaps what the engine still lists
    assert containers(KEY) == []


def test_only_a_container_whose_release_is_gone_is_reaped(bench: Bench) -> None:
    client = daemon.connect().client
    built = images.build_of(bench.image.folder.parent, bench.store, "locked").tag
    mine = reaper.labels("step", "mine")
    gone = {**mine, "graftsmith.key": "gone", "graftsmith.started": "1"}
    made = [client.containers.create(built, ["true"], labels=labels) for labels in (mine, gone)]
    try:
        assert reaper.reap(client) == ["gone"]
        assert containers("mine") == [made[0].id]
    finally:
        made[0].remove(force=True)


def containers(key: str) -> list[str]:
    """Return the containers of ``key``, running or not."""
    found = daemon.connect().client.containers.list(all=True, filters={"label": f"graftsmith.key={key}"})
    return [str(container.id) for container in found]


def running(key: str) -> list[str]:
    """Return the running containers of ``key``."""
    found = daemon.connect().client.containers.list(filters={"label": f"graftsmith.key={key}"})
    return [str(container.id) for container in found]


def wait_for(condition: "object") -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
