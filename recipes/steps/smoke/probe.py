"""What the machine can do at this moment: one copy and one product of matrices, timed.

    python -I probe.py
    {"device": "NVIDIA H200", "copied_bytes": 4294967296, "bytes_per_second": 4.28e12, ...}

The copy is of one part of the device's memory to another, and its bytes count twice: read and
written. The best of several tries is given, since whatever else runs can only slow it down. It runs
alone in the image: standard library and torch.
"""

import json
import subprocess
import time
from collections.abc import Callable, Mapping

TRIES = 10
GPU_BYTES, CPU_BYTES = 4 << 30, 256 << 20
GPU_SIDE, CPU_SIDE = 8192, 1024
CLOCKS = "clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_event_reasons.active"


def main() -> None:
    """Measure and print one line of JSON."""
    import torch

    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    wait: Callable[[], None] = torch.cuda.synchronize if gpu else lambda: None
    nbytes, side = (GPU_BYTES, GPU_SIDE) if gpu else (CPU_BYTES, CPU_SIDE)
    halves = torch.ones(2, nbytes, dtype=torch.uint8, device=device)
    copy_s = _best(lambda: halves[0].copy_(halves[1]), wait)
    factor = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    product_s = _best(lambda: factor @ factor, wait)
    found = {
        "device": torch.cuda.get_device_name() if gpu else "CPU",
        "copied_bytes": nbytes,
        "bytes_per_second": 2 * nbytes / copy_s,
        "product_side": side,
        "flops_per_second": 2 * side**3 / product_s,
        "clocks": _clocks() if gpu else {},
    }
    print(json.dumps(found))  # noqa: T201


def _best(run: Callable[[], object], wait: Callable[[], None]) -> float:
    """Return the seconds of the fastest of ten runs, after one that is not counted."""
    times = []
    for _ in range(1 + TRIES):
        wait()
        began = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _clocks() -> Mapping[str, str]:
    """Return what nvidia-smi tells just after the work; nothing where it is not there."""
    argv = ["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv,noheader"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    said = done.stdout.strip().split(",") if done.returncode == 0 else []
    names = CLOCKS.split(",")
    return dict(zip(names, (part.strip() for part in said), strict=True)) if len(said) == len(names) else {}


if __name__ == "__main__":
    main()
