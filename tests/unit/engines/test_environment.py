"""What installs an environment holds its lock, and ends with the release that started it."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from release.engines import environment
from release.errors import BuildError
from release.images import load
from release.store import KeyLock, Store, default_root

PROJECT = Path(__file__).resolve().parents[3]
IMAGE = """
format = 1
name = "small"
[variants.cpu]
requirements = "cpu/requirements.in"
lock = "cpu/requirements.lock"
"""
INSTALLING = """
import sys
from pathlib import Path
from release.engines.environment import start
from release.store import KeyLock
with KeyLock(Path(sys.argv[1])) as lock:
    print(start(("/bin/sleep", "60"), lock.fd).pid, flush=True)
    sys.stdin.read()
"""


def test_an_installer_holds_the_lock_and_dies_with_its_release(tmp_path: Path) -> None:
    release = subprocess.Popen(
        [sys.executable, "-c", INSTALLING, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert release.stdout is not None
    installer = Path("/proc") / release.stdout.readline().strip()
    until(lambda: b"sleep" in (installer / "cmdline").read_bytes())
    assert str(tmp_path / "lock") in [str(fd.readlink()) for fd in (installer / "fd").iterdir()]
    release.send_signal(signal.SIGKILL)
    release.communicate()
    until(lambda: not alive(installer))
    with KeyLock(tmp_path / "lock", lambda: pytest.fail("still held")):
        pass


@pytest.mark.env  # installs one small wheel
def test_files_of_an_image_that_change_while_it_is_installed_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (default_root() / "cache" / "uv").mkdir(parents=True, exist_ok=True)
    (store.root / "cache").mkdir(parents=True)
    (store.root / "cache" / "uv").symlink_to(default_root() / "cache" / "uv")
    image = load(small_image(tmp_path / "images"), "small", "cpu", store.stat_cache)
    whole = image.lock.read_text()
    image.lock.write_text(f"{whole}# another line\n")
    with pytest.raises(BuildError, match=r"requirements\.lock changed while its environment was installed"):
        environment.provide(image, store, lambda _: None)
    assert not any(map(environment.complete, environment.installed(store)))
    image.lock.write_text(whole)
    assert environment.provide(image, store, lambda _: None).python.is_file()


def small_image(images: Path) -> Path:
    """Make an image of one wheel out of the lock of another; return the folder of images."""
    lock = (PROJECT / "images" / "quantize" / "cpu" / "requirements.lock").read_text()
    (entry,) = re.findall(r"^packaging==.*\n(?:    .*\n)+", lock, re.MULTILINE)
    (images / "small" / "cpu").mkdir(parents=True)
    (images / "small" / "image.toml").write_text(IMAGE)
    (images / "small" / "cpu" / "requirements.in").write_text("packaging\n")
    (images / "small" / "cpu" / "requirements.lock").write_text(entry)
    return images


def until(holds: Callable[[], bool]) -> None:
    """Wait up to five seconds."""
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline, "waited for nothing"
        time.sleep(0.02)


def alive(process: Path) -> bool:
    """Tell whether a process of /proc runs."""
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
