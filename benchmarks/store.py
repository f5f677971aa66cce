"""The store on weights: how fast it hashes, and that it never copies them.

    python -m benchmarks.store [--folder DIR] [--gigabytes N] [--repeats N]

- ``release.digest`` on files in memory, against ``openssl dgst -sha256`` on one core times
  the cores used, and against as many openssl at once;
- a body of 20 GB in sparse shards comes in as a step's result, and the real graft step puts
  a head on it, through ``release.realize``: the store's inodes and blocks are counted;
- the same graft on a body of 1 GB: what a graft takes must not depend on the body.

The shards are holes: the disk needs a few MB, but each body is read and hashed once.
Runs are in turns, and the best of each counts: neighbours only ever slow one down. Say what
else the machine was doing.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from recipes.formats.checkpoint import INDEX_FILE, shard_name, write_index
from recipes.formats.progress import Update
from recipes.formats.safetensors import Entry, header_bytes
from recipes.formats.step import Workdir
from recipes.steps.graft.main import main as graft
from release.derivation import Site, Source, Step
from release.digest import sha256_files
from release.plan import Graph
from release.realize import Done, Executor, Job, Report
from release.store import Store

TINY = Path(__file__).parents[1] / "recipes" / "tiny"
MEMORY = Path("/dev/shm")  # noqa: S108 (files in memory: the disk is not what is measured)
HASHED = 512 << 20
BLOCK = 512
SHARDS = 10
SMALL = 1
GRAFTS = 5
"""Grafts for each repeat: one takes some fsyncs, which differ more than bodies do."""
GOAL = 0.8


class InProcess:
    """Runs the graft step here: an interpreter's start would hide what is measured."""

    def run(self, job: Job) -> Report:
        """Run the step's own ``main`` on the job's folder."""
        for name, item in job.inputs.items():
            (job.scratch / "in" / name).symlink_to(item.folder)
        work = Workdir(job.scratch)
        graft(work)
        work.finish()
        return Report(engine="benchmark")


class Silent:
    """A listener that says nothing."""

    def started(self, step: Step, key: str) -> None:
        """Hear that a step begins."""

    def waiting(self, step: Step, key: str) -> None:
        """Hear that another release builds this key."""

    def progress(self, step: Step, update: Update) -> None:
        """Hear how far a step is."""

    def finished(self, step: Step, done: Done) -> None:
        """Hear that a step's tree is in the store."""


@dataclass(frozen=True, slots=True)
class Rate:
    """GB for each second of wall time, and for each second of processor time."""

    wall: float
    processor: float


@dataclass(frozen=True, slots=True)
class Grafted:
    """A graft: its tree, and the seconds until its folder of links stands."""

    tree: str
    seconds: float


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where to make the store (default: the temp folder)")
    parser.add_argument("--gigabytes", type=int, default=20, help="size of the large body")
    parser.add_argument("--repeats", type=int, default=9)
    asked = parser.parse_args()
    print(f"machine: {_cores()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    for text in hash_rate(asked.repeats):
        print(text, flush=True)
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-store-") as folder:
        for text in grafts(Path(folder), asked.gigabytes, asked.repeats):
            print(text, flush=True)
    print(f"load {os.getloadavg()[0]:.1f} after")


def hash_rate(repeats: int) -> Iterator[str]:
    """Yield how fast files are hashed, by us and by openssl in turns."""
    cores = _cores()
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="bench-store-") as folder:
        files = [Path(folder) / str(number) for number in range(cores)]
        for file in files:
            file.write_bytes(os.urandom(1 << 20) * (HASHED >> 20))
        rates: dict[str, list[Rate]] = {"ours": [], "one": [], "all": []}
        for _ in range(repeats):
            rates["ours"].append(_rate(files, lambda: list(sha256_files(files))))
            rates["one"].append(_rate(files[:1], lambda: _openssl(files[:1])))
            rates["all"].append(_rate(files, lambda: _openssl(files)))
    ours, one, every = (max(rate.wall for rate in rates[name]) for name in ("ours", "one", "all"))
    yield (
        f"sha256 of {cores} files of {HASHED >> 20} MiB in memory, GB/s: ours {ours:.2f}; "
        f"openssl {one:.2f} on one core, {every:.2f} with {cores} at once"
    )
    yield f"ours / (openssl x {cores} cores): {ours / one / cores:.2f} (goal: at least {GOAL})"
    ours, one = (max(rate.processor for rate in rates[name]) for name in ("ours", "one"))
    yield f"the same by processor time: {ours:.2f} / {one:.2f} GB/s = {ours / one:.2f}"


def grafts(folder: Path, gigabytes: int, repeats: int) -> Iterator[str]:
    """Yield what a large and a small body take to come in and to be grafted, in bytes and seconds."""
    store = Store(folder / "store")
    head = store.ingest(TINY / "base", store.stat_cache.tree(TINY / "base"))
    bodies: dict[int, str] = {}
    for size in (gigabytes, SMALL):
        _sparse_body(folder / str(size), size * 10**9)
        bodies[size], text = _come_in(store, folder / str(size) / "out", size)
        yield text
    for size, body in bodies.items():  # the first one also makes the folders that show its inputs
        yield _first(store, body, head, size)
    seconds: dict[int, list[float]] = {size: [] for size in bodies}
    for number in range(1, repeats * GRAFTS + 1):
        for size in sorted(bodies, reverse=bool(number % 2)):
            seconds[size].append(_graft(store, bodies[size], head, f"graft-{number}").seconds)
    for size, found in seconds.items():
        yield (
            f"graft, commit and folder of links on {size} GB, {len(found)} times: "
            f"at best {min(found) * 1e3:.1f} ms, median {median(found) * 1e3:.1f} ms"
        )
    best, middle = (of(seconds[gigabytes]) / of(seconds[SMALL]) for of in (min, median))
    yield (f"{gigabytes} GB / {SMALL} GB: {best:.2f} at best, {middle:.2f} of medians (goal: about 1)")


def _sparse_body(home: Path, size: int) -> None:
    """Write what a step leaves that made a body of ``size`` bytes: shards that are one hole, a tree.json."""
    work, each = Workdir(home), size // SHARDS
    shards = {f"body.{number}": shard_name(number, SHARDS) for number in range(1, SHARDS + 1)}
    for tensor, shard in shards.items():
        header = header_bytes([Entry(tensor, "U8", (each,), ())], shard)
        path = work.new(shard)
        path.write_bytes(header)
        os.truncate(path, len(header) + each)
    write_index(work.new(INDEX_FILE), shards, each * SHARDS)
    shutil.copyfile(TINY / "master" / "config.json", work.new("config.json"))
    work.finish()


def _come_in(store: Store, out: Path, size: int) -> tuple[str, str]:
    """Commit a body as the step's result that it is; return its tree and a line to print."""
    written = _files(out)
    began = time.monotonic()
    tree = store.commit(out, {})
    took = time.monotonic() - began
    new = {inode: found for inode, found in _files(store.objects.folder).items() if inode in written}
    moved = sum(found.st_size for found in new.values())
    return tree, (
        f"body of {size} GB as a step's result: hashed at {moved / took / 1e9:.2f} GB/s; "
        f"{moved / 1e9:.2f} GB of objects are the inodes that the step wrote"
    )


def _first(store: Store, body: str, head: str, size: int) -> str:
    before = _files(store.root)
    tree, given = store.tree(_graft(store, body, head, "graft-0").tree), store.tree(body)
    assert tree is not None
    assert given is not None
    new = [found for inode, found in _files(store.root).items() if inode not in before]
    shard = max(file.size for file in given.files.values())
    return (
        f"graft on {size} GB: a tree of {tree.size / 1e9:.2f} GB; the disk took "
        f"{sum(found.st_blocks for found in new) * BLOCK / 1e3:.0f} kB in {len(new)} new files, "
        f"{sum(found.st_size >= shard for found in new)} of them copies of a shard"
    )


def _graft(store: Store, body: str, head: str, name: str) -> Grafted:
    """Realize one graft that the store does not have yet, and show its tree."""
    step = Step(
        name=name, does="graft", image="quantize", inputs={"body": "body", "head": "head"}, params={"n": name}
    )
    sources = (Source(name="body", digest=body), Source(name="head", digest=head))
    site = Site(code={"graft": "1"}, images={"quantize": "1"}, platform="any", machine={})
    executor = Executor(
        store=store,
        site=site,
        line="benchmark",
        runner_of=lambda _: InProcess(),
        checks={},
        listener=Silent(),
    )
    began = time.monotonic()
    done = executor.realize(Graph(sources=sources, steps=(step,)))[name]
    store.folder(done.tree, name)
    assert done.built, "a graft of another name is another derivation"
    return Grafted(done.tree, time.monotonic() - began)


def _files(folder: Path) -> dict[tuple[int, int], os.stat_result]:
    """Return the plain files below ``folder`` by device and inode: each once, whatever links it has."""
    found = (path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {(stat.st_dev, stat.st_ino): stat for stat in found}


def _rate(files: Sequence[Path], work: Callable[[], object]) -> Rate:
    """Return how fast ``work`` goes through ``files``."""
    began, used = time.monotonic(), _processor()
    work()
    wall, processor = time.monotonic() - began, _processor() - used
    size = sum(file.stat().st_size for file in files) / 1e9
    return Rate(size / wall, size / processor)


def _processor() -> float:
    """Return the processor time of this process and of its ended children."""
    return sum(os.times()[:4])


def _openssl(files: Sequence[Path]) -> None:
    """Hash each file by an openssl of its own, all at once."""
    argv = ("openssl", "dgst", "-sha256")
    started = [subprocess.Popen([*argv, file], stdout=subprocess.DEVNULL) for file in files]
    for process in started:
        if process.wait() != 0:
            raise RuntimeError("openssl failed")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
