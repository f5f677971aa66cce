"""The store's own trace: complete, in order, and able to end a process at any of its lines."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
CODE = """
import sys
from pathlib import Path
from release.store import durable
durable.write(Path(sys.argv[1]) / "deep" / "file", b"data")
durable.remove(Path(sys.argv[1]) / "deep")
"""


def run(folder: Path, **env: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", CODE, str(folder)], cwd=PROJECT, env={**os.environ, **env}, check=False
    ).returncode


def test_every_point_is_named_before_and_after(tmp_path: Path) -> None:
    assert run(tmp_path, GRAFTSMITH_TRACE=str(tmp_path / "trace")) == 0
    kinds = [line.split()[1:3] for line in (tmp_path / "trace").read_text().splitlines()]
    order = ["fsync", "fsync", "rename", "fsync", "remove"]  # new folder, file, rename, its folder
    assert kinds == [[when, kind] for kind in order for when in ("before", "after")]


@pytest.mark.parametrize("number", range(1, 11))
def test_a_process_ends_at_the_line_it_is_told(tmp_path: Path, number: int) -> None:
    env = {"GRAFTSMITH_TRACE": str(tmp_path / "trace"), "GRAFTSMITH_KILL_AT": str(number)}
    assert run(tmp_path, **env) == -signal.SIGKILL
    assert len((tmp_path / "trace").read_text().splitlines()) == number
    whole = tmp_path / "deep" / "file"
    assert not whole.exists() or whole.read_bytes() == b"data"
    assert whole.exists() == (6 <= number <= 9)


def test_without_the_variable_there_is_none(tmp_path: Path) -> None:
    assert run(tmp_path, GRAFTSMITH_KILL_AT="1") == 0
    assert not (tmp_path / "trace").exists()
