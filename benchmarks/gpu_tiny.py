"""The trained tiny checkpoint through the real steps, on the machine with the GPU: both release trees."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.gpu_bench import (
    TEMPLATES,
    TINY,
    Bench,
    Figures,
    calibrate_params,
    configure_params,
    quantize_params,
)
from benchmarks.gpu_served import served
from benchmarks.gpu_steps import fresh, link_inputs, step, tree

KINDS = ("nvfp4", "master")

Step = tuple[str, str, Mapping[str, Path], Figures]
"""A folder, what the step in it does, its inputs and its parameters."""


def tree_of(bench: Bench, kind: str) -> Path:
    """Return where ``tiny`` puts the release tree of one kind."""
    return bench.work / "tiny" / f"configure-{kind}" / "tree"


def tiny(bench: Bench) -> Figures:
    """Make both trees of the tiny release: the packed one, and the BF16 master with the same head."""
    base = bench.work / "tiny"
    rows = base / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TINY / "calibration.jsonl", rows / "calibration.jsonl")
    seconds: Figures = {}
    for name, does, inputs, params in _steps(base, gpu=bench.gpu):
        fresh(base / name)
        link_inputs(base / name, inputs)
        seconds[f"{name}_s"] = step(does, base / name, params).seconds
        tree(base / name)
    return seconds


def serve_tiny(bench: Bench) -> Figures:
    """Serve the tiny release: an acceptance that means something."""
    return served(bench, tree_of(bench, "nvfp4"), "chat")


def _steps(base: Path, *, gpu: bool) -> Iterator[Step]:
    master = TINY / "master"
    read = {"master": master, "rows": base / "rows", "chat_template": TEMPLATES}
    yield "calibrate", "calibrate", read, calibrate_params(20, 256)
    measured = {"master": master, "calibration": base / "calibrate" / "tree"}
    yield "quantize", "quantize", measured, quantize_params("1MB", gpu=gpu)
    for kind, body in zip(KINDS, (base / "quantize" / "tree", master), strict=True):
        yield f"graft-{kind}", "graft", {"body": body, "head": TINY / "base"}, {}
        grafted = {"tree": base / f"graft-{kind}" / "tree", "master": master}
        words = {"chat_template": TEMPLATES, "templates": TEMPLATES}
        params = {**configure_params(), "quantized": kind == "nvfp4"}
        yield f"configure-{kind}", "configure", {**grafted, **words}, params
