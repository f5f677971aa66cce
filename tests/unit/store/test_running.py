"""A release and the collector at once: neither takes from the other, and a kill frees all holds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from release.store import Store, gc, running, verify
from release.store.live import mark
from release.store.locks import try_lock
from tests.unit.store.results import IMAGE, objects, result, source

PROJECT = Path(__file__).resolve().parents[3]


OPEN = """
import sys
from pathlib import Path
from release.store import Store
store = Store(Path(sys.argv[1]))
"""
READY = """
def ready():
    print('ready', flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@contextmanager
def other(root: Path, body: str) -> Iterator["subprocess.Popen[str]"]:
    """Run ``body`` in another process until it says that it is ready; it ends with its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPEN + READY + body, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.communicate()


def collect(store: Store) -> gc.Collected:
    return gc.collect(store, keep=None, dry_run=False)


def test_what_a_running_release_found_stays_until_it_ends(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    result(store, "a", nonce="2", x="new")
    with other(store.root, f"with store.running():\n    assert store.use('{old.key}')\n    ready()"):
        collect(store)
        assert objects(store) == {"old", "new"}
        assert store.tree_of(old.key) == old.tree
    collect(store)
    assert objects(store) == {"new"}


def test_what_a_killed_release_found_is_garbage(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    result(store, "a", nonce="2", x="new")
    body = f"with store.running():\n    assert store.use('{old.key}')\n    ready()"
    with other(store.root, body) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        collect(store)
        assert objects(store) == {"new"}
        assert not list(store.pins._folder.iterdir())


def test_a_release_that_ends_while_its_pins_are_read_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = result(store, "a", nonce="1", x="old")
    result(store, "a", nonce="2", x="new")
    with other(store.root, f"with store.running():\n    assert store.use('{old.key}')\n    ready()"):
        (pins,) = (store.root / "pins").iterdir()

        def held_and_gone(fd: int) -> bool:
            pins.unlink(missing_ok=True)
            return try_lock(fd)

        monkeypatch.setattr(running, "try_lock", held_and_gone)
        assert old.key in store.pins.live()


def test_a_tree_that_a_running_step_reads_stays(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    result(store, "a", nonce="2", x="new")
    with other(store.root, f"with store.running():\n    assert store.use_tree('{old.tree}')\n    ready()"):
        collect(store)
        assert store.tree(old.tree) is not None
    collect(store)
    assert Store(store.root).tree(old.tree) is None


def test_sources_and_environments_of_a_running_release_stay(store: Store, tmp_path: Path) -> None:
    held = source(store, tmp_path, "base", "held")
    store.roots.hold_sources("tiny", {"base": source(store, tmp_path, "base", "locked now")})
    (store.root / "envs" / IMAGE[:32]).mkdir(parents=True)
    manifest = "from release.store.manifests import Manifest; from release.digest import Tree\n"
    body = (
        f"{manifest}with store.running():\n"
        f"    store.hold('tiny', {{'base': '{held}'}}, {{'{IMAGE}': Manifest(Tree({{}}))}})\n    ready()"
    )
    with other(store.root, body):
        store.roots.hold_sources("tiny", {"base": "0" * 64})
        collect(store)
        assert objects(store) == {"held"}
        assert (store.root / "envs" / IMAGE[:32]).is_dir()
        assert store.manifests.get(IMAGE) is not None
    collect(store)
    assert objects(store) == set()
    assert not (store.root / "envs" / IMAGE[:32]).exists()


def test_the_collector_waits_for_a_commit_and_says_so(store: Store) -> None:
    result(store, "a", x="1")
    with other(store.root, "with store.gate.shared():\n    ready()") as process:
        said: list[bool] = []
        began = time.monotonic()

        def waiting() -> None:
            said.append(True)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        gc.collect(store, keep=None, dry_run=False, waiting=waiting)
    assert said
    assert time.monotonic() - began < 20


def test_a_release_that_looked_before_the_collector_ran_looks_again(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    result(store, "a", nonce="2", x="new")
    assert store.tree_of(old.key) == old.tree, "planned as a hit, and remembered"
    with other(
        store.root, "from release.store import gc\ngc.collect(store, keep=None, dry_run=False)\nready()"
    ):
        pass
    with store.running():
        assert store.use(old.key) is None, "it must be built again, not be found half gone"


def test_pins_hold_nothing_outside_of_a_running_release(store: Store) -> None:
    old = result(store, "a", nonce="1", x="old")
    result(store, "a", nonce="2", x="new")
    assert store.use(old.key) is not None
    assert old.key not in mark(store, None).keys


RELEASING = """
import random
from recipes.formats.step import Taken
from release.derivation import Site, Step
from release.engines.host import HostEngine
from release.hoststep import HostStep, Result
from release.plan import Graph
from release.realize import Executor

class Ear:
    def started(self, step, key): pass
    def waiting(self, step, key): pass
    def progress(self, step, update): pass
    def finished(self, step, done): pass

def work(inputs, params):
    both = [(name, path) for name, given in inputs.items() for path in given.tree.files]
    taken = {f"{name}-{path}": Taken(name, path) for name, path in both}
    return Result(new={"own": params["nonce"].encode() * 99}, taken=taken)

random.seed(int(sys.argv[2]))
site = Site(code={"work": "1"}, images={}, platform="linux/amd64", machine={})
engine = HostEngine({"work": HostStep(work, revision=1)})
executor = Executor(
    store=store, site=site, line="tiny", runner_of=lambda step: engine, checks={}, listener=Ear()
)
for round in range(int(sys.argv[3])):
    steps = []
    for name in ("a", "b", "c"):
        nonce = name + str(random.randrange(4))
        inputs = {"in": steps[-1].name} if steps else {}
        steps.append(Step(name=name, does="work", inputs=inputs, params={"nonce": nonce}))
    with store.running():
        for name, done in executor.realize(Graph(sources=(), steps=tuple(steps))).items():
            folder = store.folder(done.tree, name)
            for path, file in store.tree(done.tree).files.items():
                assert (folder / path).stat().st_size == file.size, (round, name, path)
print(round + 1, flush=True)
"""


def test_releases_and_collectors_at_once_lose_nothing(store: Store) -> None:
    store.root.mkdir()
    releases = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN + RELEASING, str(store.root), str(seed), "25"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        for seed in (1, 2)
    ]
    freed = 0
    while any(process.poll() is None for process in releases):
        freed += sum(item.kind is gc.Kind.RESULT for item in collect(store).garbage)
    for process in releases:
        printed, error = process.communicate()
        assert process.returncode == 0, error
        assert printed == "25\n"
    assert freed > 10, "the collector found nothing to take from under the releases"
    assert not list(verify.structure(store))
