"""A process that eats memory is ended before the floor; one that does not leaves a timeline."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from recipes.formats.progress import Update
from recipes.formats.serving.budget import GIB, Floors
from recipes.formats.step import TREE_FILE
from release.derivation import Step
from release.digest import Json, Tree
from release.errors import BuildError, MachineError
from release.guard.guarded import TIMELINE_FILE, Guarded
from release.guard.reading import meminfo
from release.hoststep import Input
from release.realize import Job, Report

PROJECT = Path(__file__).resolve().parents[3]

# Takes 2 GiB in pieces of 16 MiB, a piece every 40 ms: 0.4 GiB a second, as a server loads.
EATER = """
import time
held = []
for _ in range(128):
    held.append(b"x" * (16 << 20))
    time.sleep(0.04)
time.sleep(30)
"""
CONTENT = "print('nothing to eat')"

MODEST = Floors(overhead=0, floor=0, startup_floor=0, swap_growth=64 * GIB, pressure=101.0, return_within=0)
SERVE: dict[str, Json] = {
    "max_model_len": 1024,
    "max_num_seqs": 4,
    "max_num_batched_tokens": 2048,
    "kv_cache_bytes": 1 << 28,
    "speculative_tokens": 2,
    "enforce_eager": True,
    "language_model_only": True,
    "prefix_caching": False,
}


@dataclass
class Starts:
    """A runner that starts a Python process and fails as an engine does when it dies."""

    script: str
    pid: int = 0

    def run(self, job: Job) -> Report:
        with subprocess.Popen([sys.executable, "-I", "-c", self.script]) as process:
            self.pid = process.pid
            job.started(process.pid)
            job.progress(Update(at="acceptance"))
            code = process.wait()
        if code != 0:
            raise BuildError(f"its supervisor was ended by signal {-code}")
        (job.scratch / "out" / TREE_FILE).write_text(json.dumps({"format": 1, "files": {}}))
        return Report(engine="local")


def job(root: Path, serve: dict[str, Json] | None = None) -> Job:
    (root / "out").mkdir()
    return Job(
        step=Step(name="smoke-nvfp4", does="smoke", params={"serve": serve or SERVE}),
        inputs={"tree": Input(PROJECT / "recipes" / "tiny" / "base", Tree({}))},
        scratch=root,
        log=root / "smoke.log",
        lock_fd=0,
        progress=lambda _: None,
    )


@pytest.mark.timeout(60)
def test_what_eats_memory_is_ended_before_the_floor(tmp_path: Path) -> None:
    floor = meminfo()["MemAvailable"] - GIB
    eater = Starts(EATER)
    with pytest.raises(
        MachineError, match=r"the memory guard stopped the server: .* were available"
    ) as caught:
        Guarded(inner=eater, floors=replace(MODEST, floor=floor)).run(job(tmp_path))
    assert caught.value.code == 10
    with pytest.raises(ProcessLookupError):
        os.kill(eater.pid, 0)
    timeline = [json.loads(line) for line in (tmp_path / f"smoke.{TIMELINE_FILE}").read_text().splitlines()]
    # What others give back meanwhile is the eater's to take, so this is more than the GiB.
    assert max(reading["rss"] for reading in timeline) < 2 * GIB, "it never had its two"
    assert timeline[-1]["phase"] == "after"
    assert timeline[-1]["rss"] == 0


def test_a_run_that_leaves_enough_adds_its_timeline_to_the_result(tmp_path: Path) -> None:
    Guarded(inner=Starts(CONTENT), floors=MODEST).run(job(tmp_path))
    tree = json.loads((tmp_path / "out" / TREE_FILE).read_text())
    assert tree["files"] == {TIMELINE_FILE: None}
    lines = (tmp_path / "out" / TIMELINE_FILE).read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert first["phase"] == "starting"
    assert last["phase"] == "after"
    assert last["gpu"] is None or last["gpu"] >= 0


def test_a_failure_of_its_own_is_not_the_guards(tmp_path: Path) -> None:
    with pytest.raises(BuildError):
        Guarded(inner=Starts("raise SystemExit(5)"), floors=MODEST).run(job(tmp_path))
    assert (tmp_path / f"smoke.{TIMELINE_FILE}").is_file()


def test_a_server_that_cannot_fit_is_not_started(tmp_path: Path) -> None:
    hungry = Starts(CONTENT)
    greedy: dict[str, Json] = {**SERVE, "kv_cache_bytes": 1 << 50}
    with pytest.raises(MachineError, match=r"GB cache.* and this machine of .* may give"):
        Guarded(inner=hungry, floors=MODEST).run(job(tmp_path, greedy))
    assert hungry.pid == 0
