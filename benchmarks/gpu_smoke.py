"""The real smoke step on one CUDA GPU: both trees of the tiny release, under the memory guard.

The recipe's prompts, sampling, checks and gates; what serves is the engine at hand, so the profile
says what that machine needs. On sm_90 vLLM multiplies NVFP4 by Marlin, a kernel of packed weights
alone (W4A16): an input scale that is wrong would not be seen there.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from benchmarks.gpu_bench import TINY, Bench, Figures
from benchmarks.gpu_served import serve_environment
from benchmarks.gpu_steps import fresh, link_inputs, step
from benchmarks.gpu_tiny import KINDS, tree_of
from recipes.formats import evidence, progress
from recipes.formats.evidence import Evidence
from recipes.formats.params import Table
from recipes.formats.serving.budget import parse_floors
from recipes.formats.serving.kernel import arithmetic
from release.bootstrap import read_drafts
from release.gates.judging import Found, judge
from release.gates.wanted import parse_gates
from release.guard.nvml import open_gpus
from release.guard.reading import Phase
from release.guard.watch import Watch

STARTING = "starting the server"
SWEEP = (1, 8, 16, 32, 64)
TOKENS = 128
# FlashInfer compiles at first use, where there may be no compiler; nothing is captured, so that a
# start takes the minute or two that a call has.
ON_GPU: Mapping[str, object] = {
    "max_num_seqs": 64,
    "max_num_batched_tokens": 8192,
    "kv_cache_bytes": 4 << 30,
    "utilization": 0.3,
    "autotune": False,
    "extra_flags": ["--gdn-prefill-backend=triton"],
    "environment": {"VLLM_USE_FLASHINFER_SAMPLER": "0"},
}
KERNEL_ON_GPU = "MarlinNvFp4LinearKernel"
# Asked of the Python that serves: where its packages are, in the order in which it looks.
_ASK = """
import json, os, sys
given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
path = [at for at in sys.path if at and (at in given or at.endswith("-packages"))]
name = f"python{sys.version_info.major}.{sys.version_info.minor}"
print(json.dumps({"base": sys._base_executable, "name": name, "path": path}))
"""
# A reply's figures, and what is counted of the machine, but not every percentile.
LEFT_OUT = ("ttft_ms_p99", "itl_ms_p99")


def smoke_nvfp4(bench: Bench) -> Figures:
    """Smoke the packed tree with its draft head."""
    return _smoke(bench, "nvfp4")


def smoke_master(bench: Bench) -> Figures:
    """Smoke the BF16 master's tree with the same head: the baseline."""
    return _smoke(bench, "master")


def compare(bench: Bench) -> Figures:
    """Hold both against the recipe's gates, and each speed against the baseline's."""
    folders = {f"smoke-{kind}": _root(bench, kind) / "out" for kind in KINDS}
    found = Found(
        evidence={name: _evidence(folder) for name, folder in folders.items()},
        drafts={name: read_drafts(folder) for name, folder in folders.items()},
    )
    recipe = tomllib.loads((TINY / "recipe.toml").read_text())
    rows = [row for row in recipe["gates"] if str(row["figure"]).startswith(tuple(folders))]
    gates = parse_gates(rows, tuple(folders))
    ours, theirs = (found.evidence[name] for name in folders)
    shares: Figures = {}
    for figure in ours.measurements:
        baseline = theirs.figure(figure.name)
        if figure.name.startswith(("acceptance_length", "output_tokens")) and baseline:
            shares[f"{figure.name}, share of the master's"] = figure.value / baseline.value
    verdicts = (judge(gate, found) for gate in gates)
    return {**shares, "log_lines": [f"{each.name}: {each.outcome}: {each.sentence}" for each in verdicts]}


def _smoke(bench: Bench, kind: str) -> Figures:
    root = _root(bench, kind)
    fresh(root)
    _share_cache(bench, root)
    link_inputs(root, {"tree": tree_of(bench, kind), "prompts": TINY, "checks": TINY})
    # The floors of a machine with unified memory, unless this is a laptop: then the recipe's own.
    floors = {} if bench.gpu else tomllib.loads((TINY / "recipe.toml").read_text())["smoke"]["memory"]
    watch = Watch(parse_floors(Table("floors", floors)), open_gpus())

    def said(line: str) -> None:
        update = progress.parse(line)
        if isinstance(update, progress.Update):
            watch.phase = Phase.STARTING if update.at == STARTING else Phase.SERVING

    try:
        with watch:
            ran = step(
                "smoke",
                root,
                _params(bench, kind),
                python=_python(bench),
                variables=serve_environment(bench),
                started=watch.follow,
                said=said,
            )
    except SystemExit as error:
        raise SystemExit(f"{error} {watch.stopped or ''}") from error
    finally:
        _keep(bench, kind, root, watch)
    found = _evidence(root / "out")
    return {"step_s": ran.seconds, **_measured(found), **_guarded(watch), "log_lines": _lines(found)}


def _root(bench: Bench, kind: str) -> Path:
    return bench.work / "smoke" / kind


def _params(bench: Bench, kind: str) -> Figures:
    """Return what the recipe asks, served as this machine can."""
    recipe = tomllib.loads((TINY / "recipe.toml").read_text())
    asked = recipe["smoke"]
    serve = {key: value for key, value in recipe["serve"].items() if key not in KINDS}
    serve |= recipe["serve"][kind]
    # One start fits a call, and what the probes say is only written down.
    drives = {**asked["drives"], "boots": 1, "fitness": 0}
    if bench.gpu:
        serve |= ON_GPU
        if kind == "nvfp4":
            serve["expect_kernel"] = KERNEL_ON_GPU
        loads = ((many, max(16, 4 * many)) for many in SWEEP)
        drives["throughput"] = [{"concurrency": c, "requests": n, "tokens": TOKENS} for c, n in loads]
    return {
        "serve": serve,
        "sampling": {**recipe["sampling"], "max_tokens": asked["max_tokens"], "seed": asked["seed"]},
        "drives": drives,
        "startup_timeout_s": asked["startup_timeout_s"],
        "request_timeout_s": asked["request_timeout_s"],
    }


def _python(bench: Bench) -> Path:
    """Make a Python that finds the engine also when isolated, as the step starts its server.

    An isolated Python does not read PYTHONPATH, so its folders stand in a path file of a virtual
    environment (PEP 405).
    """
    served_by = os.environ.get("GRAFTSMITH_SERVE_PYTHON", sys.executable)
    told = json.loads(subprocess.check_output([served_by, "-c", _ASK], text=True))
    folder = bench.work / "serve-python"
    python, site = folder / "bin" / "python", folder / "lib" / told["name"] / "site-packages"
    for made in (python.parent, site):
        made.mkdir(parents=True, exist_ok=True)
    python.unlink(missing_ok=True)
    python.symlink_to(told["base"])
    (folder / "pyvenv.cfg").write_text(f"home = {Path(told['base']).parent}\n")
    (site / "engine.pth").write_text("".join(f"{path}\n" for path in told["path"]))
    return python


def _share_cache(bench: Bench, root: Path) -> None:
    """Let the second server find what the first one compiled."""
    shared = bench.work / "smoke" / "cache"
    shared.mkdir(parents=True, exist_ok=True)
    (root / "state" / "cache").symlink_to(shared)


def _keep(bench: Bench, kind: str, root: Path, watch: Watch) -> None:
    """Leave evidence, timeline and the server's log for the caller's folder."""
    kept = bench.work / "kept"
    kept.mkdir(exist_ok=True)
    (kept / f"memory-{kind}.jsonl").write_text(watch.text())
    for source, name in ((root / "out" / evidence.EVIDENCE_FILE, f"evidence-{kind}.json"),):
        if source.is_file():
            shutil.copyfile(source, kept / name)
    server = root / "state" / "server.log"
    if server.is_file():
        sys.stderr.write(f"---- the server's log\n{server.read_text(errors='replace')[-60_000:]}\n")


def _evidence(folder: Path) -> Evidence:
    return evidence.parse((folder / evidence.EVIDENCE_FILE).read_text())


def _measured(found: Evidence) -> Figures:
    kernel = str(found.facts.get("kernel") or "")
    named = {
        f"{figure.name} [{figure.unit}, n={figure.n}]": figure.value
        for figure in found.measurements
        if not figure.name.startswith(LEFT_OUT)
    }
    told = {name: found.facts.get(name) for name in ("engine_version", "asked_one_at_a_time", "drafting")}
    return {**told, "kernel": f"{kernel}: {arithmetic(kernel)}" if kernel else "BF16", **named}


def _guarded(watch: Watch) -> Figures:
    looks = watch.timeline
    gpu = [look.gpu for look in looks if look.gpu is not None]
    apart = [after.at - before.at for before, after in pairwise(looks)]
    return {
        "guard: kept readings": len(looks),
        "guard: longest time between two, s": max(apart, default=0.0),
        "guard: least MemAvailable, GB": min(look.available for look in looks) / 1e9,
        "guard: most resident memory, GB": max(look.rss for look in looks) / 1e9,
        "guard: most GPU memory of its processes, GB": max(gpu) / 1e9 if gpu else "no GPU",
        "guard: stopped the server": watch.stopped or "no",
        "guard: did not come back, GB": watch.missing / 1e9,
        "guard: last reading": json.dumps(asdict(looks[-1])),
    }


def _lines(found: Evidence) -> list[str]:
    checked = found.facts["checks"]
    assert isinstance(checked, list), "the step writes a list of verdicts"
    warned = found.facts["log_warnings"]
    assert isinstance(warned, list), "the step writes a list of lines"
    verdicts = [f"{each['name']}: {each['outcome']}: {each['found']}" for each in checked]
    return [*verdicts, *(f"the server's log: {line}" for line in warned)]
