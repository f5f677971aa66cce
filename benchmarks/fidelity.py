"""The fidelity step against a plain forward pass of the same model: tokens a second, and memory beside it.

    python3 -m benchmarks.fidelity --work DIR --size 27b-8        # widths of 27B, 8 layers, 18 GB in DIR
    python3 -m benchmarks.fidelity --work DIR --size small        # on a CPU, in a minute

Needs numpy, torch, safetensors and transformers, and triton on a GPU, as plain imports of the
Python that runs it. The weights are random. The peer is transformers' own model with all weights
where it runs, over the same number of rows of the same length, logits of every position included;
it runs before the step and after it, and the faster run counts. The step's rate counts a token
once for each of the two models: reading weights, packing activations, the hidden states' way over
the disk and the comparison are all in it, and imports are not. DIR should be a memory disk where
the disk is slower than the GPU: what the step read a second is printed.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks import synthetic
from benchmarks.gpu_memory import GpuMemory
from benchmarks.measure import Ran, run
from recipes.formats import progress
from recipes.formats.master import open_master
from recipes.formats.step import parse_tree

PROJECT = Path(__file__).parents[1]
TINY = PROJECT / "recipes" / "tiny"
TEMPLATE = PROJECT / "recipes" / "templates" / "chat_template.jinja"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
PRECISION = {"in_proj_ab": "nvfp4", "linear_attention": "nvfp4", "activations": "nvfp4"}
SIZES = {
    "small": synthetic.MINIATURE,
    "2b": synthetic.SMALL,
    "27b-8": replace(synthetic.FLAGSHIP, layers=8),
    "27b": synthetic.FLAGSHIP,
}
# Rows and tokens a row; a release machine runs a few hundred thousand tokens.
WORKLOADS = {"small": (16, 256), "2b": (16, 512), "27b-8": (64, 2048), "27b": (64, 2048)}
TINY_VOCABULARY = 480
# Tokens that the step runs at once on a GPU (recipes/layerwise/states.py).
TOGETHER = 16384


def main() -> None:
    """Make what is missing, run both, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="where the checkpoints are made")
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--rows", type=int, help="texts; 64 of the large sizes")
    parser.add_argument("--length", type=int, help="tokens a text; 2048 of the large sizes")
    parser.add_argument("--plain", action="store_true", help="only the plain forward pass, as JSON")
    asked = parser.parse_args()
    rows, length = WORKLOADS[asked.size]
    rows, length = asked.rows or rows, asked.length or length
    work = asked.work.resolve() / asked.size
    if asked.plain:
        print(json.dumps(plain(work / "master", rows, length)))
        return
    for line in report(work, asked.size, rows, length):
        print(line, flush=True)


def report(work: Path, size: str, rows: int, length: int) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before"
    _make(work, size, rows, length)
    nbytes = {name: open_master(work / name).checkpoint.data_bytes for name in ("master", "nvfp4")}
    yield f"{size}: master {nbytes['master'] / 1e9:.2f} GB, release {nbytes['nvfp4'] / 1e9:.2f} GB"
    tokens = rows * length
    yield f"{rows} texts of {length} tokens; {tokens} for each model"
    before = _plain(work, size, rows, length)
    yield f"plain forward, before: {_rate(tokens, before)}"
    with GpuMemory(bool(before["gpu"])) as memory:
        ran = _fidelity(work, length)
    after = _plain(work, size, rows, length)
    yield f"plain forward, after:  {_rate(tokens, after)}"
    peers = {name: min(before[name], after[name]) for name in ("seconds", "batched")}
    yield from _table(ran, tokens, nbytes, peers)
    gpu = memory.figures().get("gpu_memory_gib")
    beside = f", {gpu:.2f} GiB of GPU memory" if isinstance(gpu, float) else ""
    yield f"fidelity step: {ran.anonymous / 2**30:.2f} GiB of the host's memory{beside}"
    yield f"load {os.getloadavg()[0]:.1f} after"


def plain(master: Path, rows: int, length: int) -> dict[str, object]:
    """Run transformers' own model over ``rows`` rows of ``length`` tokens, after one to warm up."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from recipes.layerwise.weights import Weights, fill

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    opened = open_master(master)
    config = AutoConfig.from_pretrained(master, local_files_only=True).get_text_config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    # Its buffers are computed, not loaded.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    weights, found = Weights(opened), {}
    for leaf in model.state_dict():
        name = leaf.replace("model.", opened.layout.prefix, 1) if leaf.startswith("model.") else leaf
        found[leaf] = weights.read([name])[name].to(device)
    fill(model, "", found)
    del found
    model = model.to(device).eval()
    draw = torch.Generator().manual_seed(0)
    tokens = [torch.randint(TINY_VOCABULARY, (1, length), generator=draw) for _ in range(rows)]

    def forward(at: int, count: int) -> object:
        return model(input_ids=torch.cat(tokens[at : at + count]).to(device), use_cache=False)

    with torch.inference_mode():
        seconds, together = (_passes(forward, rows, count) for count in (1, max(1, TOGETHER // length)))
    gpu = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "seconds": seconds,
        "batched": together,
        "gpu": device.type == "cuda",
        "gpu_gib": gpu,
        "host_gib": host,
    }


def _passes(forward: Callable[[int, int], object], rows: int, at_once: int) -> float:
    """Return the seconds that a pass over ``rows`` rows takes, ``at_once`` of them together."""
    forward(0, at_once)
    _wait()
    began = time.monotonic()
    for at in range(0, rows, at_once):
        forward(at, at_once)
    _wait()
    return time.monotonic() - began


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _make(work: Path, size: str, rows: int, length: int) -> None:
    """Make the master, pack it by the real step, and write the texts; what is there is used again."""
    master, release = work / "master", work / "nvfp4"
    if not (release / "config.json").is_file():
        shutil.rmtree(work, ignore_errors=True)
        workers = 1 if size == "small" else min(8, len(os.sched_getaffinity(0)))
        synthetic.make(master, SIZES[size], shards=8 if workers > 1 else 2, workers=workers)
        synthetic.calibrate(work / "calibration", SIZES[size])
        _pack(work)
        for name in TOKENIZER:
            shutil.copyfile(TINY / "master" / name, release / name)
        shutil.copyfile(TEMPLATE, release / TEMPLATE.name)
    _write_rows(work / "rows", rows, length)


def _pack(work: Path) -> None:
    root = work / "quantize"
    params = {**PRECISION, "exporter": "stream", "max_shard_size": "5GB", "gpu": _has_gpu()}
    ran = _step("quantize", root, {"master": work / "master", "calibration": work / "calibration"}, params)
    (work / "nvfp4").mkdir()
    for path, taken in parse_tree((root / "out" / "tree.json").read_text()).items():
        source = root / "out" / path if taken is None else root / "in" / taken.input / taken.path
        os.link(source.resolve(), work / "nvfp4" / path)
    shutil.rmtree(root)
    assert ran.code == 0


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _write_rows(folder: Path, rows: int, length: int) -> None:
    """Write texts that are longer than ``length`` tokens: tiny's own, one after the other."""
    lines = [json.loads(line) for line in (TINY / "calibration.jsonl").read_text().splitlines()]
    words = " ".join(str(message["content"]) for line in lines for message in line["messages"]).split()
    folder.mkdir(exist_ok=True)
    with (folder / "fidelity.jsonl").open("w") as file:
        for number in range(rows):
            text = " ".join(words[(number * 7 + at) % len(words)] for at in range(length))
            file.write(json.dumps({"id": f"text-{number}", "domain": "text", "text": text}) + "\n")


def _fidelity(work: Path, length: int) -> Ran:
    params = {"max_seq_len": length, "rows_license": "Apache-2.0", "slow_linear_attention": True}
    inputs = {"master": work / "master", "nvfp4": work / "nvfp4", "rows": work / "rows"}
    return _step("fidelity", work / "fidelity", inputs, params)


def _step(name: str, root: Path, inputs: Mapping[str, Path], params: Mapping[str, object]) -> Ran:
    """Run a step's real code in a fresh ``root``. Raises SystemExit with what it said."""
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("in", "out", "state"):
        (root / folder).mkdir(parents=True)
    for given, source in inputs.items():
        (root / "in" / given).symlink_to(source, target_is_directory=True)
    (root / "params.json").write_text(json.dumps(dict(params)))
    code = f"from recipes.formats.step import run; from recipes.steps.{name}.main import main; run(main)"
    ran = run([sys.executable, "-c", code, "--root", root], _environment(), root / "log")
    if ran.code != 0:
        raise SystemExit(f"{name}: exit code {ran.code}: {ran.lines[-1:]}\n{ran.log[-3000:]}")
    return ran


def _plain(work: Path, size: str, rows: int, length: int) -> dict[str, float]:
    argv = [sys.executable, "-m", "benchmarks.fidelity", "--plain", "--work", work.parent, "--size", size]
    ran = run([*argv, "--rows", rows, "--length", length], _environment(), work / "plain.log")
    if ran.code != 0:
        raise SystemExit(f"plain forward: exit code {ran.code}\n{ran.log[-3000:]}")
    found: dict[str, float] = json.loads(ran.lines[-1][1])
    return found


def _environment() -> dict[str, str]:
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}


def _table(ran: Ran, tokens: int, nbytes: Mapping[str, int], peers: Mapping[str, float]) -> Iterator[str]:
    """Yield the step's parts, each against the peer that does as many tokens."""
    began: dict[str, float] = {}
    for at, line in ran.lines:
        if isinstance(update := progress.parse(line), progress.Update):
            began.setdefault(update.at, at)
    for name, end in (("master", "nvfp4"), ("nvfp4", "compare")):
        seconds = began[end] - began[name]
        yield (
            f"{name}'s layers: {tokens / seconds:.0f} tokens/s, "
            f"{nbytes[name] / seconds / 1e9:.2f} GB/s of weights"
        )
    yield f"output heads and comparison: {began['vision'] - began['compare']:.1f} s"
    seconds = began["vision"] - began["master"]
    rate = 2 * tokens / seconds
    yield f"fidelity step: {rate:.0f} tokens/s ({seconds:.1f} s for both models)"
    yield f"ratio to the plain forward: {rate * peers['seconds'] / tokens:.2f} (aim: 0.8 on a GPU)"
    yield f"ratio to it with as many rows at once as the step: {rate * peers['batched'] / tokens:.2f}"


def _rate(tokens: int, found: Mapping[str, float]) -> str:
    where = f"{found['gpu_gib']:.2f} GiB of GPU memory" if found["gpu"] else f"{found['host_gib']:.2f} GiB"
    batched = f"{tokens / found['batched']:.0f} with rows together"
    return f"{tokens / found['seconds']:.0f} tokens/s ({found['seconds']:.1f} s), {batched}, {where}"


if __name__ == "__main__":
    main()
