"""What proving costs, in one run on one machine.

    python -m benchmarks.prove [--folder DIR] [--repeats N]

- The header-only part on a release shaped like the 27B: 2687 tensors, 20.559 GB of holes.
  Its byte count is held against one worked out from the facts alone.
- The repack proof on a checkpoint of 2 GB, against reading the same bytes and doing nothing
  with them: from the disk (evicted from the page cache before each run) and from memory.

Ratios are of medians over interleaved repeats; memory is the peak of the process tree's
anonymous pages. Say what else the machine was doing.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

from benchmarks import synthetic
from benchmarks.measure import evict, run, warm
from recipes.formats.precision import OPTIONS
from recipes.formats.step import Workdir, parse_tree
from recipes.steps.quantize.main import main as quantize

# The facts: parameters of the whole model and of the body's 496 Linears.
PARAMETERS, PACKED, LINEARS, TENSORS = 27_781_427_952, 24_350_556_160, 496, 2687
# A packed weight takes half a byte and a sixteenth of a scale's; a Linear has two fp32 scales.
EXPECTED = 2 * (PARAMETERS - PACKED) + PACKED // 2 + PACKED // 16 + 8 * LINEARS

Figures = Mapping[str, float]


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where to make the checkpoint (default: the temp folder)")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-prove-") as folder:
        for line in report(Path(folder), asked.repeats):
            print(line, flush=True)


def report(folder: Path, repeats: int) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield f"machine: {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before"
    yield from _headers(folder, repeats)
    yield from _repack(folder, repeats)
    yield f"load {os.getloadavg()[0]:.1f} after"


def _headers(folder: Path, repeats: int) -> Iterator[str]:
    tree = folder / "holes"
    synthetic.make_holes(tree, synthetic.FLAGSHIP, synthetic.TOWER_27B)
    runs = [_part(folder, "headers", tree) for _ in range(repeats)]
    found = runs[0]
    counted = [int(found[name]) for name in ("tensors", "bytes", "implied", "linears", "parameters")]
    expected = [TENSORS, EXPECTED, EXPECTED, LINEARS, PARAMETERS]
    if counted != expected:
        raise SystemExit(f"counted {counted}, expected {expected}")
    yield (
        f"headers of the 27B: {found['tensors']:.0f} tensors, {found['bytes']:,.0f} bytes "
        f"({found['bytes'] / 1e9:.3f} GB, as the facts say), {found['claims']:.0f} claims hold"
    )
    seconds, whole = ([run[name] for run in runs] for name in ("seconds", "whole"))
    yield f"  {_spread(seconds)}; with Python's start {_spread(whole)}"
    yield f"  peak anonymous memory {_mb(runs)}"


def _repack(folder: Path, repeats: int) -> Iterator[str]:
    master, body = folder / "master", folder / "body"
    synthetic.make(master, synthetic.SMALL)
    synthetic.calibrate(folder / "calibration", synthetic.SMALL)
    _quantize(folder, body)
    for state, prepare in (("cold", evict), ("warm", warm)):
        proofs, reads = [], []
        for _ in range(repeats):
            reads.append(_prepared(folder, "read", prepare, body, master))
            proofs.append(_prepared(folder, "repack", prepare, body, master))
        yield from _lines(state, proofs, reads)


def _lines(state: str, proofs: list[Figures], reads: list[Figures]) -> Iterator[str]:
    seconds, reading = ([run["seconds"] for run in runs] for runs in (proofs, reads))
    weights, size = proofs[0]["bf16"], reads[0]["bytes"]
    yield (
        f"repack, {state}: {_spread(seconds)}, {size / 1e9 / median(seconds):.2f} GB/s read, "
        f"peak anonymous memory {_mb(proofs)}"
    )
    rate = size / 1e9 / median(reading)
    yield f"  reading the same {size / 1e9:.2f} GB: {_spread(reading)}, {rate:.2f} GB/s"
    ratio, best = median(reading) / median(seconds), min(reading) / min(seconds)
    yield f"  repack / reading, in GB/s: {ratio:.2f} of medians, {best:.2f} of the best of each"
    cpu = median(run["cpu"] for run in proofs)
    yield (
        f"  {weights / 1e9:.2f} GB of BF16: {weights / 1e9 / cpu:.2f} GB/s per core of CPU time, "
        f"{weights / 1e9 / median(seconds) / reads[0]['threads']:.2f} GB/s per core of wall time"
    )


def _prepared(folder: Path, part: str, prepare: Callable[[Path], None], *trees: Path) -> Figures:
    for tree in trees:
        prepare(tree)
    return _part(folder, part, *trees)


def _part(folder: Path, part: str, *trees: Path) -> Figures:
    argv = [sys.executable, "-m", "benchmarks.prove_parts", part, *trees]
    ran = run(argv, os.environ, folder / "log")
    if ran.code != 0:
        raise SystemExit(f"{part} failed: {ran.log[-2000:]}")
    found: dict[str, float] = json.loads(ran.lines[-1][1])
    return {**found, "whole": ran.seconds, "anonymous": ran.anonymous}


def _quantize(folder: Path, body: Path) -> None:
    """Pack the master with the quantize step, in this process."""
    root = folder / "quantize"
    for name in ("in", "out", "state"):
        (root / name).mkdir(parents=True)
    for name in ("master", "calibration"):
        (root / "in" / name).symlink_to(folder / name)
    params = dict.fromkeys(OPTIONS, "nvfp4")
    work = Workdir(root, {**params, "exporter": "stream", "max_shard_size": "5GB"})
    quantize(work)
    work.finish()
    assert not any(parse_tree((root / "out" / "tree.json").read_text()).values()), "all files are new"
    (root / "out" / "tree.json").unlink()
    (root / "out").rename(body)


def _mb(runs: list[Figures]) -> str:
    return f"{max(run['anonymous'] for run in runs) / 1e6:.0f} MB"


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
