"""The doctor on this machine: what it finds is what other programs say."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from release.doctor.machine import look

PROJECT = Path(__file__).resolve().parents[3]


def test_what_it_finds_is_what_the_system_says(tmp_path: Path) -> None:
    found = look(tmp_path / "store" / "not" / "there")
    assert found.python == sys.version_info[:2]
    assert abs(found.free - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert found.memory == int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert set(found.isolation) >= {"filesystem", "network", "processes"}
    assert list(tmp_path.iterdir()) == [], "the doctor leaves nothing behind"


def test_the_task_answers_for_machines_and_for_people(tmp_path: Path) -> None:
    invoke = [str(Path(sys.executable).with_name("invoke")), "doctor"]
    env = {**os.environ, "GRAFTSMITH_STORE": str(tmp_path)}
    run = partial(subprocess.run, cwd=PROJECT, env=env, capture_output=True, text=True, check=True)
    done = run([*invoke, "--json"])
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["python"]["state"] == "good" and found["disk"]["found"].count("tiny adds about") == 1
    done = run(invoke)
    assert "this machine, for tiny" in done.stdout and "hard links" in done.stdout
