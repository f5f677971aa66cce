"""The streaming exporter against what else writes an NVFP4 body, in one run on one machine.

    python -m benchmarks.quantize [--folder DIR] [--repeats N] [--skip modelopt llm-compressor]

Makes a checkpoint of 2 GB in a temporary folder, removes it after, and prints a table:

- the real quantize step with either exporter, start-up included, and whether their bytes
  are the same;
- llm-compressor's ``model_free_ptq``, in an environment of its own that uv installs from
  llm_compressor.in (5 GB, thrown away after);
- a plain read of as many bytes and a plain write of as many, both ways until the bytes are
  on the disk, since a write into memory says nothing of a disk;
- packing in memory on one core against memcpy, in CPU time of the thread.

Ratios are of medians over interleaved repeats. Say what else the machine was doing.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import synthetic
from benchmarks.measure import Ran, evict, run, warm
from recipes.formats import nvfp4, progress
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.nvfp4 import DTYPES
from recipes.steps.quantize.kernels.cpu import CpuKernel
from release import closure
from release.engines import environment
from release.images import load
from release.store import Store, default_root

PROJECT = Path(__file__).parents[1]
PEER = PROJECT / "benchmarks" / "peer_llm_compressor.py"
PEER_REQUIREMENTS = PROJECT / "benchmarks" / "llm_compressor.in"
PRECISION = {"in_proj_ab": "nvfp4", "linear_attention": "nvfp4", "activations": "nvfp4"}
PLAIN_CHUNK = 8 << 20
IN_MEMORY = 1 << 25


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it runs, and with which interpreter the step runs."""

    folder: Path
    python: Path
    uv: Path

    @property
    def master(self) -> Path:
        """The checkpoint's folder."""
        return self.folder / "master"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where to make the checkpoint (default: the temp folder)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip", nargs="*", default=[], choices=["modelopt", "llm-compressor"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-quantize-") as folder:
        bench = Bench(Path(folder), quantize_python(), environment.uv())
        for line in report(bench, asked.repeats, frozenset(asked.skip)):
            print(line, flush=True)


def report(bench: Bench, repeats: int, skip: frozenset[str]) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    synthetic.make(bench.master, synthetic.SMALL)
    synthetic.calibrate(bench.folder / "calibration", synthetic.SMALL)
    size = sum(path.stat().st_size for path in bench.master.iterdir())
    yield f"machine: {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before"
    yield f"input: {size / 1e9:.2f} GB, {synthetic.SMALL.layers} layers, hidden {synthetic.SMALL.hidden}"
    yield from _in_memory()
    stream, lines = _against_plain(bench, repeats)
    yield from lines
    if "modelopt" in skip:
        yield "modelopt: skipped as asked"
    else:
        yield from _against_modelopt(bench, stream)
    if "llm-compressor" in skip:
        yield "llm-compressor: skipped as asked"
    else:
        yield from _against_llm_compressor(bench, stream)
    yield f"load {os.getloadavg()[0]:.1f} after"


def _in_memory() -> Iterator[str]:
    weight = nvfp4.f32_to_bf16(
        (np.random.default_rng(1).standard_normal(IN_MEMORY) * 0.02).astype(np.float32)
    )
    scale_2 = nvfp4.global_scale([("w", weight)])
    codes, scales = np.empty(weight.size // 2, np.uint8), np.empty(weight.size // 16, np.uint8)
    copy, kernel = np.empty_like(weight), CpuKernel()
    rates = {
        "memcpy": _rate(weight.nbytes, lambda: np.copyto(copy, weight)),
        "peak": _rate(weight.nbytes, lambda: kernel.peak(weight)),
        "pack": _rate(weight.nbytes, lambda: kernel.pack(weight, scale_2, codes, scales)),
        "numpy": _rate(weight.nbytes, lambda: nvfp4.pack_blocks(weight, scale_2, codes, scales), 2),
    }
    figures = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
    yield f"in memory, one core, GB/s of BF16: {figures}"
    packing = rates["pack"]
    yield f"  pack / memcpy {packing / rates['memcpy']:.2f}, pack / numpy {packing / rates['numpy']:.0f}"


def _rate(nbytes: int, work: Callable[[], object], repeats: int = 15) -> float:
    """Return the best GB/s of CPU time: neighbours on the machine only ever slow a run down."""
    taken = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return nbytes / min(taken) / 1e9


def _against_plain(bench: Bench, repeats: int) -> tuple[float, list[str]]:
    """Return the stream's median seconds from a warm page cache, and the lines to print."""
    lines: list[str] = []
    seconds: dict[str, float] = {}
    for state, prepare in (("warm", warm), ("cold", evict)):
        plain: list[float] = []
        hashed: list[float] = []
        synced: list[float] = []
        steps: list[Ran] = []
        for _ in range(repeats):
            prepare(bench.master)
            steps.append(_step(bench, "stream"))
            body = bench.folder / "stream" / "out"
            synced.append(steps[-1].seconds + _sync(body))
            prepare(bench.master)
            hashed.append(_step(bench, "stream").seconds + _hash(body) + _sync(body))
            prepare(bench.master)
            plain.append(_plain(bench, _written(body)))
        seconds[state] = median(step.seconds for step in steps)
        base = median(plain)
        lines += [
            f"stream, {state} page cache: {_spread([step.seconds for step in steps])}, wrote "
            f"{_written(body) / 1e9:.2f} GB, peak anonymous memory {_mb(max(s.anonymous for s in steps))}",
            f"  until it is on the disk: {_spread(synced)}; with the store's sha256 too: {_spread(hashed)}",
            f"  plain read + write, on the disk: {_spread(plain)}",
            f"  stream / plain {median(synced) / base:.2f}, with sha256 {median(hashed) / base:.2f}",
        ]
    group = _largest_group(bench.master)
    lines.append(f"  the largest fused group is {_mb(group)}; two are {_mb(2 * group)}")
    return seconds["warm"], lines


def _step(bench: Bench, exporter: str) -> Ran:
    """Run the quantize step as an engine does, in a fresh folder."""
    root = bench.folder / exporter
    shutil.rmtree(root, ignore_errors=True)
    for name in ("in", "out", "state"):
        (root / name).mkdir(parents=True)
    for name in ("master", "calibration"):
        (root / "in" / name).symlink_to(bench.folder / name)
    params = {
        **PRECISION,
        "exporter": exporter,
        "max_shard_size": "5GB",
    }
    (root / "params.json").write_text(json.dumps(params))
    closure.of_step(PROJECT, "quantize").write(root / "code")
    argv = [bench.python, "-I", root / "code", "--root", root]
    ran = run(argv, {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"}, root / "log")
    if ran.code != 0:
        raise SystemExit(f"{exporter} failed: {ran.lines[-1:]}\n{ran.log[-2000:]}")
    return ran


def _plain(bench: Bench, written: int) -> float:
    """Read the master's files and write ``written`` bytes to the disk, as ``cat`` would; return seconds."""
    buffer, target = bytearray(PLAIN_CHUNK), bench.folder / "plain"
    began = time.monotonic()
    for path in sorted(bench.master.iterdir()):
        with path.open("rb", buffering=0) as source:
            while source.readinto(buffer):
                pass
    with target.open("wb", buffering=0) as file:
        view, left = memoryview(buffer), written
        while left:
            left -= file.write(view[: min(left, PLAIN_CHUNK)])
        os.fsync(file.fileno())
    taken = time.monotonic() - began
    target.unlink()
    return taken


def _hash(folder: Path) -> float:
    """Hash the body, as the store does once when it takes it in; return seconds."""
    began = time.monotonic()
    for path in folder.iterdir():
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return time.monotonic() - began


def _sync(folder: Path) -> float:
    """Wait until the body is on the disk, as the store does; return seconds."""
    began = time.monotonic()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return time.monotonic() - began


def _written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _against_modelopt(bench: Bench, stream: float) -> Iterator[str]:
    warm(bench.master)
    ran = _step(bench, "modelopt")
    told = {
        update.at: at for at, line in ran.lines if isinstance(update := progress.parse(line), progress.Update)
    }
    export = ran.seconds - told["export"]
    yield (
        f"modelopt: {ran.seconds:.1f} s, of it imports {told['load the master']:.1f} s and "
        f"export {export:.1f} s; peak anonymous memory {_mb(ran.anonymous)}"
    )
    yield f"  modelopt / stream: {ran.seconds / stream:.0f} whole step, {export / stream:.0f} export alone"
    ours, theirs = (open_checkpoint(bench.folder / name / "out") for name in ("stream", "modelopt"))
    yield f"  {_compared(ours, theirs)}"


def _compared(ours: Checkpoint, theirs: Checkpoint) -> str:
    if ours.tensors.keys() != theirs.tensors.keys():
        raise SystemExit(f"DIFFERENT tensors: {sorted(ours.tensors.keys() ^ theirs.tensors.keys())[:3]}")
    differ = [name for name in ours.tensors if ours.read(name) != theirs.read(name)]
    packed = sum(
        name.endswith(tuple(f".{leaf}" for leaf in DTYPES if leaf != "weight")) for name in ours.tensors
    )
    if differ:
        raise SystemExit(f"DIFFERENT bytes in {len(differ)} of {len(ours.tensors)} tensors: {differ[:3]}")
    return f"identical bytes in all {len(ours.tensors)} tensors, {packed // 3} packed Linears among them"


def _against_llm_compressor(bench: Bench, stream: float) -> Iterator[str]:
    python = bench.folder / "peer" / "bin" / "python"
    try:
        _install(bench, python)
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        yield f"llm-compressor: skipped, its environment cannot be installed: {str(said).strip()[-300:]}"
        return
    env = {"PATH": os.environ["PATH"], "HOME": str(bench.folder), "HF_HUB_OFFLINE": "1"}
    argv = [python, PEER, bench.master, bench.folder / "peer-out"]
    for _ in range(2):  # the first run compiles bytecode
        warm(bench.master)
        shutil.rmtree(bench.folder / "peer-out", ignore_errors=True)
        ran = run(argv, env, bench.folder / "peer.log")
    if ran.code != 0:
        yield f"llm-compressor: skipped, it failed: {ran.log[-300:]}"
        return
    imports = next((at for at, line in ran.lines if line == "imported"), 0.0)
    yield (
        f"llm-compressor (weights only): {ran.seconds:.1f} s, of it imports {imports:.1f} s; "
        f"peak anonymous memory {_mb(ran.anonymous)}"
    )
    whole, without = ran.seconds / stream, (ran.seconds - imports) / stream
    yield f"  llm-compressor / stream: {whole:.0f}, {without:.0f} without its imports"


def _install(bench: Bench, python: Path) -> None:
    cache = ("--cache-dir", str(default_root() / "cache" / "uv"), "--quiet")
    for arguments in (
        ("venv", "--python", str(bench.python.resolve()), str(python.parents[1])),
        ("pip", "install", "--python", str(python), "-r", str(PEER_REQUIREMENTS)),
    ):
        subprocess.run([bench.uv, *arguments, *cache], check=True, capture_output=True, text=True)


def quantize_python() -> Path:
    """Return the interpreter of the quantize image, built from its lock where it is missing."""
    store = Store(default_root())
    image = load(PROJECT / "images", "quantize", "cpu", store.stat_cache)
    return environment.provide(image, store, lambda _: None).python


def _largest_group(master: Path) -> int:
    checkpoint = open_checkpoint(master)
    ranges = json.loads((master.parent / "calibration" / "calibration.json").read_text())["groups"]
    return max(
        sum(checkpoint.locate(f"{name}.weight").tensor.nbytes for name in group["members"])
        for group in ranges
    )


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:.0f} MB"


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
