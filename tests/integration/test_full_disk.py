"""A full disk is a clear error, the store stays usable, and the same command goes on."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from release.errors import MachineError
from tests.integration.small import release as small
from tests.integration.small import state

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # real steps in the image environments
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
        reason="this host lets nobody mount a small disk in a namespace",
    ),
]

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from tests.integration.small import release as small
from tests.integration.small import state

finished, root, name, part, free = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
disk = root / name
disk.mkdir(parents=True)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", disk], check=True)
state.copy(finished, root)
state.without(root, part)

def leave(count):
    now = os.statvfs(disk)
    size = (now.f_blocks - now.f_bfree) * now.f_frsize + max(count, now.f_frsize)  # 0 is no limit
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)

leave(int(free))
full = small.run(root)
print(full.returncode, full.stderr.replace(chr(10), " "))
leave(50_000_000)
for _ in range(2):
    done = small.run(root)
    print(done.returncode, done.stdout or done.stderr, end="")
"""


def fill(finished: Path, root: Path, disk: str, part: str, free: int) -> list[str]:
    """Do ``part`` of a release on a disk with ``free`` bytes, give it room, do it again and once more."""
    wanted = (str(finished), str(root), disk, part, str(free))
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", textwrap.dedent(SCRIPT), *wanted],
        cwd=small.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("part", "free"),
    [
        (state.FETCH, 0),
        (state.FETCH, 100_000),
        ("quantize", 0),
        ("quantize", 300_000),
        ("graft-nvfp4", 0),
        ("graft-nvfp4", 40_000),
        ("configure-master", 60_000),
        ("prove", 0),
        ("prove", 80_000),
        ("assemble-master", 0),
        ("assemble-master", 8_192),
    ],
)
def test_a_store_on_a_full_disk(tmp_path: Path, part: str, free: int, small_release: small.Finished) -> None:
    full, again, no_op = fill(small_release.root, tmp_path, "store", part, free)
    assert full.startswith(f"{MachineError.code} "), full
    assert "free;" in full or "no space left" in full
    assert again.startswith("0 "), again
    assert small.parse(again[2:]).digests == small_release.report.digests
    assert small.parse(no_op[2:]).built == ()


@pytest.mark.parametrize("free", [0, 2_000_000, 5_200_000])
def test_a_hub_on_a_full_disk(tmp_path: Path, free: int, small_release: small.Finished) -> None:
    full, again, no_op = fill(small_release.root, tmp_path, "hub", state.FETCH, free)
    assert full.startswith(f"{MachineError.code} "), full
    assert "are free" in full or "no space left" in full
    assert again.startswith("0 "), again
    report = small.parse(again[2:])
    assert (report.state, report.built) == ("published", ()), "what was built was lost"
    assert report.digests == small_release.report.digests
    assert small.parse(no_op[2:]).state == "already"
