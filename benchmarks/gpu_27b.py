"""A 27B-shaped release line on a machine with one CUDA GPU and no network, phase by phase.

    python3 -m benchmarks.gpu_27b --work DIR --out DIR [--seconds 540] [--phases NAME ...]
    python3 -m benchmarks.gpu_27b --work DIR --out DIR --size small --device cpu

Needs numpy, torch, triton, llvmlite, safetensors, transformers, accelerate, jinja2 and vLLM
as plain imports of the Python that runs it; a phase whose package is missing fails alone.
Full size takes 54 GB for the master and 21 GB for each body, in memory or on disks.

Each phase is a process with a time limit of its own, and leaves a result in WORK. What is
done is not done again, so the same command goes on after an interruption; one that does not
fit in the seconds left waits for the next. OUT holds, after every phase:

    gpu_27b.txt     one line or more a phase
    gpu_27b.json    every figure
    gpu_27b.log     the end of each phase's log
    *.json(l)       what a smoke leaves: its evidence, and the guard's timeline

The smoke of the tiny release alone, both trees and the gates:

    python3 -m benchmarks.gpu_27b --work DIR --out DIR --phases machine tiny smoke-nvfp4 smoke-master compare
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LOG_TAIL = 200_000
RESERVE_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A process. ``limit_s`` ends it; it starts only where ``likely_s`` are left."""

    name: str
    after: tuple[str, ...]
    likely_s: int
    limit_s: int


PHASES = (
    Phase(name="machine", after=(), likely_s=10, limit_s=60),
    Phase(name="kernel", after=(), likely_s=60, limit_s=240),
    Phase(name="make", after=(), likely_s=90, limit_s=400),
    Phase(name="quantize-cpu", after=("make",), likely_s=60, limit_s=300),
    Phase(name="quantize-gpu", after=("make",), likely_s=60, limit_s=300),
    Phase(name="calibrate", after=("make",), likely_s=180, limit_s=500),
    Phase(name="quantize", after=("make",), likely_s=60, limit_s=300),
    Phase(name="graft", after=("quantize",), likely_s=20, limit_s=120),
    Phase(name="configure", after=("graft",), likely_s=10, limit_s=60),
    Phase(name="serve", after=("configure",), likely_s=240, limit_s=500),
    Phase(name="tiny", after=(), likely_s=120, limit_s=300),
    Phase(name="serve-tiny", after=("tiny",), likely_s=120, limit_s=300),
    Phase(name="smoke-nvfp4", after=("tiny",), likely_s=200, limit_s=480),
    Phase(name="smoke-master", after=("tiny",), likely_s=150, limit_s=480),
    Phase(name="compare", after=("smoke-nvfp4", "smoke-master"), likely_s=10, limit_s=60),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where a run keeps its things, and what every phase is told."""

    work: Path
    out: Path
    size: str
    device: str
    serve_python: str

    def result(self, phase: Phase) -> Mapping[str, object] | None:
        """Return the phase's result, None before it has one."""
        path = self.work / "results" / f"{phase.name}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def log(self, phase: Phase) -> Path:
        """Return where the phase's output goes."""
        return self.work / "logs" / f"{phase.name}.log"

    def argv(self, phase: Phase) -> list[str]:
        """Return the command of a phase."""
        told = {"work": self.work, "size": self.size, "device": self.device}
        flags = [part for name, value in told.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-m", "benchmarks.gpu_chain", phase.name, *flags]


def main() -> None:
    """Run the phases that are left and fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="kept between calls")
    parser.add_argument("--out", type=Path, required=True, help="where the figures go")
    parser.add_argument("--size", default="27b", choices=["27b", "small"])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=540, help="of this call")
    parser.add_argument("--phases", nargs="*", default=[phase.name for phase in PHASES])
    parser.add_argument("--again", nargs="*", default=[], help="phases whose result is thrown away first")
    parser.add_argument("--serve-python", default=sys.executable, help="a Python that imports vLLM")
    asked = parser.parse_args()
    run = Run(
        work=asked.work.resolve(),
        out=asked.out.resolve(),
        size=asked.size,
        device=asked.device,
        serve_python=asked.serve_python,
    )
    for folder in (run.work / "results", run.work / "logs", run.out):
        folder.mkdir(parents=True, exist_ok=True)
    for name in asked.again:
        (run.work / "results" / f"{name}.json").unlink(missing_ok=True)
    ends = time.monotonic() + asked.seconds - RESERVE_S
    for phase in PHASES:
        if phase.name in asked.phases:
            print(f"{phase.name}: {_advance(run, phase, ends)}", flush=True)
            _report(run)
    print((run.out / "gpu_27b.txt").read_text())


def _advance(run: Run, phase: Phase, ends: float) -> str:
    """Run ``phase`` when there is reason and room for it; say what happened."""
    if _ok(run.result(phase)):
        return "done before"
    missing = [one.name for one in PHASES if one.name in phase.after and not _ok(run.result(one))]
    if missing:
        return f"not started, {', '.join(missing)} did not succeed"
    left = ends - time.monotonic()
    if left < phase.likely_s:
        return f"left for the next call: {left:.0f} s are left, and it takes about {phase.likely_s}"
    began = time.monotonic()
    code = _run(run, phase, min(left, phase.limit_s))
    taken = time.monotonic() - began
    if not _ok(run.result(phase)):
        said = "ended at its time limit" if code is None else f"exit code {code}"
        error = f"{said}: {_last_lines(run.log(phase))}"
        _store(run, phase, {"ok": False, "seconds": taken, "error": error, "by_then": _by_then(run, phase)})
    return f"{'ok' if _ok(run.result(phase)) else 'FAILED'} in {taken:.0f} s"


def _run(run: Run, phase: Phase, limit_s: float) -> int | None:
    """Run the phase's process; return its exit code, None when the time limit ended it."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GRAFTSMITH_SERVE_PYTHON": run.serve_python,
    }
    with run.log(phase).open("ab") as log:
        process = subprocess.Popen(
            run.argv(phase), cwd=PROJECT, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # A server's workers outlive it otherwise, and hold the GPU's memory.
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _store(run: Run, phase: Phase, result: Mapping[str, object]) -> None:
    (run.work / "results" / f"{phase.name}.json").write_text(json.dumps(result, indent=1))


def _ok(result: Mapping[str, object] | None) -> bool:
    return result is not None and result.get("ok") is True


def _by_then(run: Run, phase: Phase) -> str:
    """Return what a server had measured when it was ended."""
    path = run.work / "serve.json"
    return path.read_text() if phase.name.startswith("serve") and path.is_file() else ""


def _last_lines(log: Path, count: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])


def _report(run: Run) -> None:
    results = {phase.name: result for phase in PHASES if (result := run.result(phase)) is not None}
    (run.out / "gpu_27b.json").write_text(json.dumps(results, indent=1) + "\n")
    for kept in sorted((run.work / "kept").glob("*")):
        shutil.copyfile(kept, run.out / kept.name)
    lines = (line for name, result in results.items() for line in _lines(name, result))
    (run.out / "gpu_27b.txt").write_text("".join(f"{line}\n" for line in lines))
    with (run.out / "gpu_27b.log").open("w") as file:
        for phase in PHASES:
            if run.log(phase).is_file():
                file.write(
                    f"======== {phase.name}\n{run.log(phase).read_text(errors='replace')[-LOG_TAIL:]}\n"
                )


def _lines(name: str, result: Mapping[str, object]) -> Iterator[str]:
    if result.get("ok") is not True:
        yield f"{name}: FAILED: {result.get('error')} {result.get('by_then')}"
        return
    for key, value in result.items():
        if key not in ("ok", "log_lines"):
            yield f"{name}: {key}: {_text(value)}"
    lines = result.get("log_lines")
    if isinstance(lines, Sequence):
        yield from (f"{name}: | {line}" for line in lines)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
