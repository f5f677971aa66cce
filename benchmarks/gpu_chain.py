"""One phase of gpu_27b: the real steps on a large random checkpoint, timed, its figures as JSON.

    python3 -m benchmarks.gpu_chain make --work DIR --size 27b --device cuda

The steps run as an engine runs them, but for isolation: the Python at hand holds torch and
modelopt, and finds modelopt by PYTHONPATH. A release tree is put together by hard links.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks import synthetic
from benchmarks.measure import Ran, run
from recipes.formats import progress, strict_json
from recipes.formats.checkpoint import SINGLE_FILE, open_checkpoint
from recipes.formats.qwen3_5 import parse_layout
from recipes.formats.safetensors import write
from recipes.formats.step import parse_tree

PROJECT = Path(__file__).parents[1]
TINY = PROJECT / "recipes" / "tiny"
TEMPLATES = PROJECT / "recipes" / "templates"
PRECISION = {"in_proj_ab": "nvfp4", "linear_attention": "nvfp4", "activations": "nvfp4"}
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.0}
FROM_TINY = (
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
SIZES = {"27b": synthetic.FLAGSHIP, "small": synthetic.MINIATURE}
# The master takes 54 GB and a body 21, on a machine with 128 GiB of memory and 64 GiB of disk.
MEMORY_DISK = Path("/mnt/graftsmith-bench")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a place to measure in, not one to be safe in
ROOM = 1.1
PACKED_SHARE = 0.45

Figures = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a run keeps its things, and what it is asked for."""

    work: Path
    size: str
    device: str

    @property
    def dimensions(self) -> synthetic.Size:
        """The text model's dimensions."""
        return SIZES[self.size]

    @property
    def gpu(self) -> bool:
        """Whether the GPU is used."""
        return self.device == "cuda"

    @property
    def sources(self) -> Path:
        """The folder of master, base and rows; a link to where there is room."""
        return self.work / "sources"

    def step(self, name: str) -> Path:
        """Return the work folder of a step."""
        return self.work / "steps" / name


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
    found = {**seconds, **figures, **memory.figures(), "memory_left_gib": _available() / 2**30}
    (bench.work / "results" / f"{asked.phase}.json").write_text(json.dumps(found, indent=1))


def machine(bench: Bench) -> Figures:
    """Return what the machine is and has."""
    found: Figures = {"python": sys.version.split()[0], "cores": len(os.sched_getaffinity(0))}
    # In a process of its own, so that no import holds GPU memory or ends the phase.
    for name in ("numpy", "torch", "triton", "safetensors", "transformers", "llvmlite", "modelopt", "vllm"):
        said = _said([sys.executable, "-c", f"import {name}; print({name}.__version__)"])
        found[name] = said.splitlines()[-1] if said else "missing"
    for name in ("MemTotal", "MemAvailable"):
        found[f"{name}_gib"] = round(_meminfo(name) / 2**30, 1)
    for place in (bench.work, SHARED_MEMORY):
        found[f"free_gib in {place}"] = round(shutil.disk_usage(place).free / 2**30, 1)
    if bench.gpu:
        query = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.mem,power.draw"
        found["gpu"] = _said(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"])
    return found


def kernel(bench: Bench) -> Figures:
    """Run benchmarks/quantize_gpu.py; its exit code says whether all bytes were equal."""
    if not bench.gpu:
        return {"log_lines": ["no GPU: nothing to run"]}
    ran = run([sys.executable, "-m", "benchmarks.quantize_gpu"], _environment(), bench.work / "kernel.log")
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
    other = bench.work / "results" / "quantize-cpu.json"
    if not other.is_file() or (sums := json.loads(other.read_text()).get("sha256")) is None:
        return {**found, "bytes": "not compared: quantize-cpu did not succeed"}
    if sums != found["sha256"]:
        raise SystemExit(f"DIFFERENT bytes from the CPU kernel: {sums} {found['sha256']}")
    return {**found, "bytes": f"{len(sums)} files equal to the CPU kernel's"}


def calibrate(bench: Bench) -> Figures:
    """Measure the input ranges by the real step."""
    root = bench.step("calibrate")
    _fresh(root, keep_state=True)
    _inputs(root, master="master", rows="rows", chat_template=TEMPLATES)
    samples, length = (20, 8192) if bench.size == "27b" else (4, 256)
    ran = _step("calibrate", root, calibrate_params(samples, length))
    facts = strict_json.table(strict_json.read_table(root / "out" / "evidence.json"), "facts", "evidence")
    told = _phases(ran)
    wanted = (
        "calibration_rows",
        "calibration_tokens",
        "fused_groups",
        "device",
        "versions",
        "linear_attention_kernels",
    )
    return {
        **_cost(ran),
        **{f"{name}_s": seconds for name, seconds in told.items()},
        **{name: facts[name] for name in wanted if name in facts},
    }


def calibrate_params(samples: int, length: int) -> Figures:
    """Return the parameters of the calibrate step."""
    # The machines this is for lack flash-linear-attention.
    slow = {"slow_linear_attention": True, "rows_license": "Apache-2.0"}
    return {**PRECISION, **slow, "samples": samples, "max_seq_len": length}


def quantize(bench: Bench) -> Figures:
    """Pack the body that is served, with the measured ranges where there are any."""
    measured = bench.step("calibrate") / "out" / "calibration.json"
    root = bench.step("quantize")
    calibration = measured.parent if measured.is_file() else bench.sources / "synthetic"
    ran = _quantize(bench, root, calibration, gpu=bench.gpu)
    ranges = "measured" if measured.is_file() else "MADE UP: calibrate did not succeed"
    return {**_cost(ran), **_rates(bench, root, ran), "ranges": ranges}


def graft(bench: Bench) -> Figures:
    """Graft the draft head onto the body by the real step."""
    root = bench.step("graft")
    _fresh(root)
    _inputs(root, body=bench.step("quantize") / "tree", head="base")
    ran = _step("graft", root, {})
    return {**_cost(ran), "tensors": len(open_checkpoint(_tree(root)).tensors)}


def configure(bench: Bench) -> Figures:
    """Make the release tree by the real step."""
    root = bench.step("configure")
    _fresh(root)
    _inputs(
        root, tree=bench.step("graft") / "tree", master="master", chat_template=TEMPLATES, templates=TEMPLATES
    )
    ran = _step("configure", root, _configure_params())
    checkpoint = open_checkpoint(_tree(root))
    return {**_cost(ran), "data_gb": checkpoint.data_bytes / 1e9, "tensors": len(checkpoint.tensors)}


def serve(bench: Bench) -> Figures:
    """Serve the release tree with its draft head."""
    return _served(bench, bench.step("configure") / "tree", "ids")


def tiny(bench: Bench) -> Figures:
    """Take the trained tiny checkpoint through the same steps: its draft head accepts."""
    base = bench.work / "tiny"
    sources = {"master": TINY / "master", "base": TINY / "base"}
    rows = base / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TINY / "calibration.jsonl", rows / "calibration.jsonl")
    steps: list[tuple[str, Mapping[str, Path], Figures]] = [
        (
            "calibrate",
            {"master": sources["master"], "rows": rows, "chat_template": TEMPLATES},
            calibrate_params(20, 256),
        ),
        (
            "quantize",
            {"master": sources["master"], "calibration": base / "calibrate" / "tree"},
            _quantize_params("1MB", gpu=bench.gpu),
        ),
        ("graft", {"body": base / "quantize" / "tree", "head": sources["base"]}, {}),
        (
            "configure",
            {
                "tree": base / "graft" / "tree",
                "master": sources["master"],
                "chat_template": TEMPLATES,
                "templates": TEMPLATES,
            },
            _configure_params(),
        ),
    ]
    seconds: Figures = {}
    for name, inputs, params in steps:
        _fresh(base / name)
        _link_inputs(base / name, inputs)
        seconds[f"{name}_s"] = _step(name, base / name, params).seconds
        _tree(base / name)
    return seconds


def serve_tiny(bench: Bench) -> Figures:
    """Serve the tiny release: an acceptance that means something."""
    return _served(bench, bench.work / "tiny" / "configure" / "tree", "chat")


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
    "tiny": tiny,
    "serve-tiny": serve_tiny,
}


class GpuMemory:
    """The most GPU memory in use while it is open, as the driver counts it, over all processes."""

    def __init__(self, gpu: bool) -> None:
        self._gpu, self._peak = gpu, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self._gpu:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def figures(self) -> Figures:
        """Return the peak, nothing without a GPU."""
        return {"gpu_memory_gib": self._peak / 1024} if self._gpu else {}

    def _sample(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self._ended.wait(0.5):
            said = _said(query)
            self._peak = max(self._peak, int(said) if said.isdigit() else 0)


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
    figures = {**_cost(ran), **_rates(bench, root, ran), "sha256": _sums(root / "out")}
    shutil.rmtree(root)
    return figures


def _quantize(bench: Bench, root: Path, calibration: Path, *, gpu: bool) -> Ran:
    _fresh(root)
    _inputs(root, master="master", calibration=calibration)
    ran = _step("quantize", root, _quantize_params("5GB" if bench.size == "27b" else "2MB", gpu=gpu))
    if root.name == "quantize":
        _tree(root)
    return ran


def _quantize_params(max_shard_size: str, *, gpu: bool) -> Figures:
    return {
        **PRECISION,
        "exporter": "stream",
        "max_shard_size": max_shard_size,
        "gpu": gpu,
    }


def _configure_params() -> Figures:
    return {"quantized": True, "sampling": SAMPLING}


def _rates(bench: Bench, root: Path, ran: Ran) -> Figures:
    read = synthetic.nbytes(bench.dimensions)
    written = sum(path.stat().st_size for path in (root / "out").iterdir())
    kernels = sorted({at for at in _phases(ran) if at.startswith("pack")})
    return {
        "kernel": ", ".join(kernels),
        "read_gb": read / 1e9,
        "wrote_gb": written / 1e9,
        "read_gb_per_s": read / ran.seconds / 1e9,
        "place": str(root.resolve()),
    }


def _step(name: str, root: Path, params: Figures) -> Ran:
    """Run a step's real code in ``root``. Raises SystemExit with what it said."""
    (root / "params.json").write_text(json.dumps(params))
    code = f"from recipes.formats.step import run; from recipes.steps.{name}.main import main; run(main)"
    ran = run([sys.executable, "-c", code, "--root", root], _environment(), root / "log")
    sys.stderr.write(ran.log)
    if ran.code != 0:
        raise SystemExit(f"{name}: exit code {ran.code}: {ran.lines[-1:]}")
    return ran


def _served(bench: Bench, model: Path, prompts: str) -> Figures:
    python = os.environ.get("GRAFTSMITH_SERVE_PYTHON", sys.executable)
    result = bench.work / "serve.json"
    result.unlink(missing_ok=True)
    argv = [python, "-m", "benchmarks.gpu_serve", model.resolve(), "--prompts", prompts]
    ran = run(
        [*argv, "--device", bench.device, "--out", result],
        {**_environment(), **_serve_environment(bench)},
        bench.work / "serve.log",
    )
    sys.stderr.write(ran.log)
    for _, line in ran.lines:
        print(line)
    if ran.code != 0 or not result.is_file():
        raise SystemExit(f"serve: exit code {ran.code}")
    return {**_cost(ran), **json.loads(result.read_text()), "log_lines": _engine_lines(ran)}


def _serve_environment(bench: Bench) -> dict[str, str]:
    home = bench.work / "cache"
    home.mkdir(parents=True, exist_ok=True)
    own = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "XDG_CACHE_HOME": str(home)}
    if bench.gpu:
        return own | {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
    # As in images/serve: the worker inside the engine's process, and no interface but loopback.
    alone = {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return own | alone | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}


def _engine_lines(ran: Ran) -> list[str]:
    wanted = ("NVFP4 GEMM", "native support for FP4", "Model loading took", "KV cache", "Memory profiling")
    said = [*(line for _, line in ran.lines), *ran.log.splitlines()]
    return list(dict.fromkeys(line.strip()[-300:] for line in said if any(word in line for word in wanted)))


def _fresh(root: Path, *, keep_state: bool = False) -> None:
    for name in ("in", "out", "tree", *(() if keep_state else ("state",))):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("in", "out", "state"):
        (root / name).mkdir(parents=True, exist_ok=True)


def _inputs(root: Path, **inputs: Path | str) -> None:
    """Link a step's inputs; a text names one of the sources."""
    sources = root.parents[1] / "sources"
    _link_inputs(
        root, {n: sources / given if isinstance(given, str) else given for n, given in inputs.items()}
    )


def _link_inputs(root: Path, inputs: Mapping[str, Path]) -> None:
    for name, folder in inputs.items():
        (root / "in" / name).symlink_to(folder.resolve(), target_is_directory=True)


def _tree(root: Path) -> Path:
    """Put a step's result together, by hard links as the store does."""
    tree = root / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for path, taken in parse_tree((root / "out" / "tree.json").read_text()).items():
        source = root / "out" / path if taken is None else root / "in" / taken.input / taken.path
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), tree / path)
        except OSError:
            shutil.copyfile(source, tree / path)
    return tree


def _sums(folder: Path) -> dict[str, str]:
    def digest(path: Path) -> tuple[str, str]:
        with path.open("rb") as file:
            return path.name, hashlib.file_digest(file, "sha256").hexdigest()

    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(digest, sorted(folder.glob("*.safetensors"))))


def _cost(ran: Ran) -> Figures:
    return {"step_s": ran.seconds, "peak_anonymous_gib": ran.anonymous / 2**30}


def _phases(ran: Ran) -> dict[str, float]:
    """Return how long each part of a step took, by its own progress lines."""
    began: dict[str, float] = {}
    for at, line in ran.lines:
        if isinstance(update := progress.parse(line), progress.Update):
            began.setdefault(update.at, at)
    ends = [*list(began.values())[1:], ran.seconds]
    return {name: end - begin for (name, begin), end in zip(began.items(), ends, strict=True)}


def _environment() -> dict[str, str]:
    return dict(os.environ)


def _said(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _meminfo(name: str) -> int:
    lines: Iterator[str] = iter(Path("/proc/meminfo").read_text().splitlines())
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _available() -> int:
    return _meminfo("MemAvailable")


if __name__ == "__main__":
    main()
