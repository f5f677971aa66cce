"""The facts of the machine: nvidia-smi is asked once for as long as they cannot change."""

import subprocess
import sys
from pathlib import Path

from release import machine

PROJECT = Path(__file__).resolve().parents[2]


def facts(cache: Path, path: Path, mark: str = "") -> str:
    """Return the facts as a process of its own finds them."""
    code = (
        "import sys; from pathlib import Path; from release import machine\n"
        f"if {mark!r}: machine.mark = lambda: {mark!r}\n"
        "for _ in range(3): found = machine.facts('local', Path(sys.argv[1]))\n"
        "print(found.get('gpu'), found['engine'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache)],
        cwd=PROJECT,
        env={"PATH": f"{path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_gpu_is_asked_for_once_per_boot_and_driver(tmp_path: Path) -> None:
    calls, program = tmp_path / "calls", tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho x >> {calls}\necho 'NVIDIA GB10, 580.95, 12.1'\n")
    program.chmod(0o755)
    cache = tmp_path / "cache"
    assert facts(cache, tmp_path) == "NVIDIA GB10 local"
    assert facts(cache, tmp_path) == "NVIDIA GB10 local"
    assert calls.read_text() == "x\n"
    facts(cache, tmp_path, mark="another boot")
    assert calls.read_text() == "x\nx\n"


def test_a_gpu_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    assert facts(tmp_path / "cache", tmp_path) == "None local"
    program.write_text("#!/bin/sh\necho 'NVIDIA GB10, 580.95, 12.1'\n")
    assert facts(tmp_path / "cache", tmp_path) == "NVIDIA GB10 local"


def test_the_mark_is_the_same_within_a_boot() -> None:
    again = subprocess.run(
        [sys.executable, "-c", "from release import machine; print(machine.mark())"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.strip() == machine.mark()
