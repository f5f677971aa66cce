"""One phase of gpu_27b: the real steps on a large random checkpoint, timed, its figures as JSON.

    python3 -m benchmarks.gpu_chain make --work DIR --size 27b --device cuda

The steps run as an engine runs them, but for isolation: the Python at hand holds torch. A
release tree is put together by hard links.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import gpu_smoke, gpu_tiny, synthetic
from benchmarks.gpu_bench import (
    SIZES,
    TEMPLATES,
    TINY,
    Bench,
    Figures,
    calibrate_params,
    configure_params,
    environment,
    quantize_params,
)
from benchmarks.gpu_memory import GpuMemory, answer, available, meminfo
from benchmarks.gpu_served import served
from benchmarks.gpu_steps import cost, fresh, link_inputs, phases, step, tree
from benchmarks.measure import Ran, run
from recipes.formats import strict_json
from recipes.formats.checkpoint import SINGLE_FILE, open_checkpoint
from recipes.formats.qwen3_5 import parse_layout
from recipes.formats.safetensors import write

FROM_TINY = (
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
# The master takes 54 GB and a body 21, on a machine with 128 GiB of memory and 64 GiB of disk.
MEMORY_DISK = Path("/mnt/graftsmith-bench")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a place to measure in, not one to be safe in
ROOM = 1.1
PACKED_SHARE = 0.45


def main() -> None:
    """Run one phase and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("phase", choices=sorted(PHASES))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", choices=sorted(SIZES), required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    asked = parser.parse_args()
    bench = Bench(work=asked.work, size=asked.size, device=asked.device)
    (bench.work / "results").mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with GpuMemory(bench.gpu) as memory:
        figures = PHASES[asked.phase](bench)
    seconds = {"ok": True, "seconds": time.monotonic() - began}
    found = {**seconds, **figures, **memory.figures(), "memory_left_gib": available() / 2**30}
    (bench.work / "results" / f"{asked.phase}.json").write_text(json.dumps(found, indent=1))


def machine(bench: Bench) -> Figures:
    """Return what the machine is and has."""
    found: Figures = {"python": sys.version.split()[0], "cores": len(os.sched_getaffinity(0))}
    # In a process of its own, so that no import holds GPU memory or ends the phase.
    for name in ("numpy", "torch", "triton", "safetensors", "transformers", "llvmlite", "modelopt", "vllm"):
        said = answer([sys.executable, "-c", f"import {name}; print({name}.__version__)"])
        found[name] = said.splitlines()[-1] if said else "missing"
    for name in ("MemTotal", "MemAvailable"):
        found[f"{name}_gib"] = round(meminfo(name) / 2**30, 1)
    for place in (bench.work, SHARED_MEMORY):
        found[f"free_gib in {place}"] = round(shutil.disk_usage(place).free / 2**30, 1)
    if bench.gpu:
        query = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem,power.draw"
        found["gpu"] = answer(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    return found


def kernel(bench: Bench) -> Figures:
    """Run benchmarks/quantize_gpu.py; its exit code says whether all bytes were equal."""
    if not bench.gpu:
        return {"log_lines": ["no GPU: nothing to run"]}
    ran = run([sys.executable, "-m", "benchmarks.quantize_gpu"], environment(), bench.work / "kernel.log")
    if ran.code != 0:
        raise SystemExit(f"exit code {ran.code}: {ran.lines[-5:]} {ran.log[-2000:]}")
    return {"log_lines": [line for _, line in ran.lines]}


def make(bench: Bench) -> Figures:
    """Make master, draft head and calibration rows."""
    size = bench.dimensions
    wanted = synthetic.nbytes(size)
    _find_room(bench, wanted)
    folder = bench.sources
    for name in ("master", "base", "rows", "synthetic"):
        shutil.rmtree(folder / name, ignore_errors=True)
    workers = min(8, len(os.sched_getaffinity(0)))
    began = time.monotonic()
    synthetic.make(folder / "master", size, shards=16 if wanted > 1 << 33 else 2, workers=workers)
    taken = time.monotonic() - began
    for name in FROM_TINY:
        shutil.copyfile(TINY / "master" / name, folder / "master" / name)
    synthetic.calibrate(folder / "synthetic", size)
    _make_head(folder / "base", size)
    _make_rows(folder / "rows", bench)
    return {
        "master_gb": wanted / 1e9,
        "layers": size.layers,
        "seconds_to_write": taken,
        "gb_per_s": wanted / taken / 1e9,
        "place": str(folder.resolve()),
    }


def quantize_cpu(bench: Bench) -> Figures:
    """Pack with the CPU kernel and the made-up calibration; the sums are for quantize-gpu."""
    return _packed(bench, "quantize-cpu", gpu=False)


def quantize_gpu(bench: Bench) -> Figures:
    """Pack with the GPU kernel and the made-up calibration; the bytes must be quantize-cpu's."""
    found = _packed(bench, "quantize-gpu", gpu=bench.gpu)
    if "triton" not in str(found["kernel"]):
        if bench.gpu:
            raise SystemExit(f"packed by {found['kernel']} where the GPU's kernel was asked for")
        return {**found, "bytes": "not compared: there is no GPU"}
    other = bench.work / "results" / "quantize-cpu.json"
    if not other.is_file() or (sums := json.loads(other.read_text()).get("sha256")) is None:
        return {**found, "bytes": "not compared: quantize-cpu did not succeed"}
    if sums != found["sha256"]:
        raise SystemExit(f"DIFFERENT bytes from the CPU kernel: {sums} {found['sha256']}")
    return {**found, "bytes": f"{len(sums)} files equal to the CPU kernel's"}


def calibrate(bench: Bench) -> Figures:
    """Measure the input ranges by the real step."""
    root = bench.step("calibrate")
    fresh(root, keep_state=True)
    _inputs(root, master="master", rows="rows", chat_template=TEMPLATES)
    samples, length = (20, 8192) if bench.size == "27b" else (4, 256)
    ran = step("calibrate", root, calibrate_params(samples, length))
    facts = strict_json.table(strict_json.read_table(root / "out" / "evidence.json"), "facts", "evidence")
    told = phases(ran)
    wanted = (
        "calibration_rows",
        "calibration_tokens",
        "fused_groups",
        "device",
        "versions",
        "linear_attention_kernels",
    )
    return {
        **cost(ran),
        **{f"{name}_s": seconds for name, seconds in told.items()},
        **{name: facts[name] for name in wanted if name in facts},
    }


def quantize(bench: Bench) -> Figures:
    """Pack the body that is served, with the measured ranges where there are any."""
    measured = bench.step("calibrate") / "out" / "calibration.json"
    root = bench.step("quantize")
    calibration = measured.parent if measured.is_file() else bench.sources / "synthetic"
    ran = _quantize(bench, root, calibration, gpu=bench.gpu)
    ranges = "measured" if measured.is_file() else "MADE UP: calibrate did not succeed"
    return {**cost(ran), **_rates(bench, root, ran), "ranges": ranges}


def graft(bench: Bench) -> Figures:
    """Graft the draft head onto the body by the real step."""
    root = bench.step("graft")
    fresh(root)
    _inputs(root, body=bench.step("quantize") / "tree", head="base")
    ran = step("graft", root, {})
    return {**cost(ran), "tensors": len(open_checkpoint(tree(root)).tensors)}


def configure(bench: Bench) -> Figures:
    """Make the release tree by the real step."""
    root = bench.step("configure")
    fresh(root)
    _inputs(
        root, tree=bench.step("graft") / "tree", master="master", chat_template=TEMPLATES, templates=TEMPLATES
    )
    ran = step("configure", root, configure_params())
    checkpoint = open_checkpoint(tree(root))
    return {**cost(ran), "data_gb": checkpoint.data_bytes / 1e9, "tensors": len(checkpoint.tensors)}


def serve(bench: Bench) -> Figures:
    """Serve the release tree with its draft head."""
    return served(bench, bench.step("configure") / "tree", "ids")


PHASES: Mapping[str, Callable[[Bench], Figures]] = {
    "machine": machine,
    "kernel": kernel,
    "make": make,
    "quantize-cpu": quantize_cpu,
    "quantize-gpu": quantize_gpu,
    "calibrate": calibrate,
    "quantize": quantize,
    "graft": graft,
    "configure": configure,
    "serve": serve,
    "tiny": gpu_tiny.tiny,
    "serve-tiny": gpu_tiny.serve_tiny,
    "smoke-nvfp4": gpu_smoke.smoke_nvfp4,
    "smoke-master": gpu_smoke.smoke_master,
    "compare": gpu_smoke.compare,
}


def _find_room(bench: Bench, wanted: int) -> None:
    """Link ``sources`` and ``steps`` to the first places with room; memory for the master where it can.

    Raises SystemExit when there is none.
    """
    if bench.sources.exists() and (bench.work / "steps").exists():
        return
    places = [bench.work / "disk", SHARED_MEMORY / "graftsmith-bench"]
    if bench.gpu and _mounted():
        places.insert(0, MEMORY_DISK)
    taken: dict[Path, int] = {}
    for name, nbytes in (("sources", wanted), ("steps", int(wanted * PACKED_SHARE))):
        # The body goes to another place than the master where two have room.
        for place in sorted(places, key=lambda place: taken.get(place, 0)):
            place.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(place).free - taken.get(place, 0) >= nbytes * ROOM:
                taken[place] = taken.get(place, 0) + nbytes
                (place / name).mkdir(exist_ok=True)
                (bench.work / name).unlink(missing_ok=True)
                (bench.work / name).symlink_to(place / name)
                break
        else:
            free = {str(place): shutil.disk_usage(place).free for place in places}
            raise SystemExit(f"no room for {nbytes * ROOM / 1e9:.0f} GB of {name}: free bytes are {free}")


def _mounted() -> bool:
    """Mount a memory disk as large as the master needs: /dev/shm is as small as the memory at boot."""
    MEMORY_DISK.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(MEMORY_DISK):
        return True
    argv = ["mount", "-t", "tmpfs", "-o", "size=64g", "tmpfs", str(MEMORY_DISK)]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0


def _make_head(folder: Path, size: synthetic.Size) -> None:
    folder.mkdir(parents=True)
    shapes = parse_layout(synthetic.config(size)).mtp_shapes()
    write(folder / SINGLE_FILE, list(synthetic.entries(shapes)))


def _make_rows(folder: Path, bench: Bench) -> None:
    """Write rows that are longer than the sequence length: tiny's own, one after the other."""
    folder.mkdir(parents=True)
    rows = [json.loads(line) for line in (TINY / "calibration.jsonl").read_text().splitlines()]
    words = [str(message["content"]) for row in rows for message in row["messages"]]
    repeat = 40 if bench.size == "27b" else 1
    with (folder / "calibration.jsonl").open("w") as file:
        for number in range(20):
            text = " ".join((words[number:] + words[:number]) * repeat)
            row = {"id": f"long-{number}", "messages": [{"role": "user", "content": text}], "thinking": False}
            file.write(json.dumps(row) + "\n")


def _packed(bench: Bench, name: str, *, gpu: bool) -> Figures:
    root = bench.step(name)
    ran = _quantize(bench, root, bench.sources / "synthetic", gpu=gpu)
    figures = {**cost(ran), **_rates(bench, root, ran), "sha256": _sums(root / "out")}
    shutil.rmtree(root)
    return figures


def _quantize(bench: Bench, root: Path, calibration: Path, *, gpu: bool) -> Ran:
    fresh(root)
    _inputs(root, master="master", calibration=calibration)
    ran = step("quantize", root, quantize_params("5GB" if bench.size == "27b" else "2MB", gpu=gpu))
    if root.name == "quantize":
        tree(root)
    return ran


def _rates(bench: Bench, root: Path, ran: Ran) -> Figures:
    read = synthetic.nbytes(bench.dimensions)
    written = sum(path.stat().st_size for path in (root / "out").iterdir())
    kernels = sorted({at for at in phases(ran) if at.startswith("pack")})
    return {
        "kernel": ", ".join(kernels),
        "read_gb": read / 1e9,
        "wrote_gb": written / 1e9,
        "read_gb_per_s": read / ran.seconds / 1e9,
        "place": str(root.resolve()),
    }


def _inputs(root: Path, **inputs: Path | str) -> None:
    """Link a step's inputs; a text names one of the sources."""
    sources = root.parents[1] / "sources"
    link_inputs(
        root, {n: sources / given if isinstance(given, str) else given for n, given in inputs.items()}
    )


def _sums(folder: Path) -> dict[str, str]:
    def digest(path: Path) -> tuple[str, str]:
        with path.open("rb") as file:
            return path.name, hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(digest, sorted(folder.glob("*.safetensors"))))


if __name__ == "__main__":
    main()
