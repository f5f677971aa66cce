"""The engine's own process beside a phase: its environment, and what its log says."""

import json
import os
import sys
from pathlib import Path

from benchmarks.gpu_bench import Bench, Figures, environment
from benchmarks.gpu_steps import cost
from benchmarks.measure import Ran, run


def served(bench: Bench, model: Path, prompts: str) -> Figures:
    """Serve ``model`` by gpu_serve and return its figures. Raises SystemExit when it fails."""
    python = os.environ.get("GRAFTSMITH_SERVE_PYTHON", sys.executable)
    result = bench.work / "serve.json"
    result.unlink(missing_ok=True)
    argv = [python, "-m", "benchmarks.gpu_serve", model.resolve(), "--prompts", prompts]
    ran = run(
        [*argv, "--device", bench.device, "--out", result],
        {**environment(), **serve_environment(bench)},
        bench.work / "serve.log",
    )
    sys.stderr.write(ran.log)
    for _, line in ran.lines:
        print(line)
    if ran.code != 0 or not result.is_file():
        raise SystemExit(f"serve: exit code {ran.code}")
    return {**cost(ran), **json.loads(result.read_text()), "log_lines": _engine_lines(ran)}


def serve_environment(bench: Bench) -> dict[str, str]:
    """Return the variables that the engine gets beside the process's own."""
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
