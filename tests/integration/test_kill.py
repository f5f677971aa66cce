"""SIGKILL at every fsync, rename, link, removal, process start and end of a small release.

After each: nothing of the release is alive two seconds later, every object of the store is
what its name says, and the same command finishes with the same digests.
"""

import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.house import House
from tests.integration.small import release as small
from tests.integration.small import state

REPOS = ("graftsmith/tiny-cascade", "graftsmith/tiny-cascade-NVFP4-MTP")
SEED = 20261123
REPEATS = 20
"""Kills beyond one for each distinct point; GRAFTSMITH_ALL_KILL_POINTS=1 takes all there are."""

WHOLE = "whole"
WHOLES = 4
"""Kills of a release that starts from nothing: each goes through every step once more."""

PARTS = (
    state.FETCH,
    "quantize",
    "graft-nvfp4",
    "graft-master",
    "configure-nvfp4",
    "configure-master",
    "prove",
    "assemble-nvfp4",
    "assemble-master",
)

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # hundreds of releases of a second each
    pytest.mark.timeout(1200),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One line of a trace, in a release that starts from the state without ``part``.

    One part at a time is left to do, so that hundreds of kills take minutes; the releases
    that start from nothing (``whole``) show that this takes nothing away.
    """

    part: str
    number: int
    what: str

    @property
    def distinct(self) -> str:
        """What happens where, the same for all files of a folder and for all steps."""
        return re.sub(r"(last/tiny|out)/[^/]*", r"\1/*", self.what)


def start_without(finished: small.Finished, root: Path, part: str) -> None:
    """Make the state in which ``part`` is still to be done, and the Hub is empty."""
    if part == WHOLE:
        state.begin(finished.root, root)
        return
    state.copy(finished.root, root)
    state.without(root, part)


def points(finished: small.Finished, folder: Path, part: str) -> Iterator[Point]:
    """Enumerate the kill points of the release that does ``part``: the store's own trace."""
    root = folder / f"trace-{part}"
    start_without(finished, root, part)
    done = small.run(root, GRAFTSMITH_TRACE=str(root / "trace"))
    assert done.returncode == 0, done.stderr
    for line in (root / "trace").read_text().splitlines():
        number, rest = line.split(" ", 1)
        yield Point(part=part, number=int(number), what=plain(rest, root))


def plain(line: str, root: Path) -> str:
    """Take from a trace line what differs between two runs and between two files of a folder."""
    line = line.replace(f"{root}/", "")
    line = re.sub(r"[0-9a-f]{64}", "D", line)
    line = re.sub(r"objects/[0-9a-f]{2}", "objects/XX", line)
    line = re.sub(r"out/(\.?)[0-9a-f]{8}-", r"out/\1", line)
    line = re.sub(r"(/\.[^/]*)\.\d+$", r"\1.PID", line)
    return re.sub(r"(scratch/D/out|out/[^/]*\.part|\.incoming-[^/]*)/.*", r"\1/*", line)


def choose(all_points: Sequence[Point]) -> list[Point]:
    """Take one point of each distinct kind and place, and a sample of the others."""
    if os.environ.get("GRAFTSMITH_ALL_KILL_POINTS"):
        return list(all_points)
    dice = random.Random(SEED)  # noqa: S311 (a sample, not a secret)
    shuffled = dice.sample(all_points, len(all_points))
    wholes = [point for point in shuffled if point.part == WHOLE]
    parts = [point for point in shuffled if point.part != WHOLE]
    first = {point.distinct: point for point in parts}
    rest = [point for point in parts if point not in first.values()]
    return [*first.values(), *rest[:REPEATS], *wholes[:WHOLES]]


def kill(finished: small.Finished, folder: Path, point: Point) -> str:
    """Kill a release at ``point``; return what was wrong afterwards, or ""."""
    root = folder / f"{point.part}-{point.number}"
    start_without(finished, root, point.part)
    killed = small.run(root, GRAFTSMITH_TRACE=str(root / "trace"), GRAFTSMITH_KILL_AT=str(point.number))
    if killed.returncode != -signal.SIGKILL:
        return f"not killed: {killed.returncode} {killed.stderr}"
    if plain((root / "trace").read_text().splitlines()[-1].split(" ", 1)[1], root) != point.what:
        return "another point has this number"
    if wrong := left_over(root):
        return wrong
    if wrong_objects := state.rotten(root):
        return f"not what they say after the kill: {wrong_objects}"
    again = small.run(root)
    if again.returncode != 0:
        return f"the same command failed: {again.stderr}"
    if small.parse(again.stdout).digests != finished.report.digests:
        return "the same command gave other digests"
    if wrong_objects := state.rotten(root):
        return f"not what they say at the end: {wrong_objects}"
    return ""


def left_over(root: Path) -> str:
    """Return what of a killed release is alive two seconds later, or ""."""
    deadline = time.monotonic() + 2
    while alive := state.processes(root):
        if time.monotonic() > deadline:
            return f"alive two seconds after the kill: {alive}"
        time.sleep(0.02)
    return ""


def test_a_release_killed_anywhere_is_finished_by_the_same_command(
    small_release: small.Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [point for part in (WHOLE, *PARTS) for point in points(small_release, tmp_path, part)]
    chosen = choose(every)
    kinds = len({point.distinct for point in every})
    with capsys.disabled():
        sys.stdout.write(f"\nkilled at {len(chosen)} of {len(every)} points ({kinds} distinct)\n")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = pool.map(lambda point: kill(small_release, tmp_path, point), chosen)
        failures = [f"{point}: {what}" for point, what in zip(chosen, wrong, strict=True) if what]
    assert not failures, "\n".join(failures)


@pytest.mark.heavy
def test_the_tiny_release_killed_five_times_is_the_same_release(
    released: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(SEED)  # noqa: S311 (a sample, not a secret)
    house = House(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("GRAFTSMITH_TRACE", str(tmp_path / "trace"))
        for _ in range(5):
            patch.setenv("GRAFTSMITH_KILL_AT", str(dice.randrange(1, 250)))
            done = house.release()
            assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
            assert not left_over(tmp_path)
            assert not state.rotten(tmp_path)
    done = house.release()
    assert done.returncode == 0, done.stdout + done.stderr
    for repo in REPOS:
        records = [hub / repo / "v0.1.0" / "release.json" for hub in (house.hub, released.hub)]
        one, other = (json.loads(record.read_text())["promised"] for record in records)
        assert one == other
