"""Locks are held by whoever still writes, and by nobody else."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from release.errors import MachineError
from release.store import KeyLock


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from release.store import KeyLock\n"
        "with KeyLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(0.5)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "k")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    waited: list[bool] = []
    began = time.monotonic()
    with KeyLock(tmp_path / "k", lambda: waited.append(True)):
        took = time.monotonic() - began
    holder.stdout.close()
    holder.wait()
    assert waited
    assert took > 0.2


def test_a_child_that_inherits_the_descriptor_holds_the_lock(tmp_path: Path) -> None:
    with KeyLock(tmp_path / "k") as lock:
        child = subprocess.Popen(["sleep", "0.6"], pass_fds=(lock.fd,))
    waited: list[bool] = []
    with KeyLock(tmp_path / "k", lambda: waited.append(True)):
        pass
    child.wait()
    assert waited, "the lock was free while a process that could write was alive"


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from release.store import KeyLock\n"
        "with KeyLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "k")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with KeyLock(tmp_path / "k", lambda: (_ for _ in ()).throw(AssertionError("still held"))):
        pass


def test_a_wait_that_is_stopped_leaves_no_descriptor_open(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    before = descriptors()
    with KeyLock(tmp_path / "k"):
        held = descriptors()
        with pytest.raises(KeyboardInterrupt), KeyLock(tmp_path / "k", stop):
            pass
        assert descriptors() == held
    assert descriptors() == before


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where the folder should be")
    with pytest.raises(MachineError, match="cannot be written") as error, KeyLock(tmp_path / "locks" / "k"):
        pass
    assert "GRAFTSMITH_STORE" in error.value.hint
