"""A finished release asked for again, against what else finds nothing to do.

    python -m benchmarks.noop [--folder DIR] [--repeats N]

Releases the tiny line once (two minutes; with --folder it stays there and is used again),
gives its steps with the same names, inputs, parameters and files to DVC and to Snakemake,
lets each build them once, and then runs in turn:

- ``invoke release --version 0.1.0`` of the finished release, answered from its seal;
- the same without a seal, as after a reboot: every key is found and every result looked up;
- ``invoke empty``, a task that does nothing: what the launcher itself takes;
- ``dvc repro`` and ``snakemake``, in an environment of their own that uv installs from
  noop.in and that is thrown away.

The peers have less to do: they are given neither code nor images nor the machine's facts.
Seconds and peak memory are medians. Say what else the machine was doing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from release import line as lines
from release.derivation import Step
from release.engines import environment
from release.plan import Graph
from release.store import default_root

CLOCK = Path(__file__).with_name("clock.py")
REQUIREMENTS = Path(__file__).with_name("noop.in")
VERSION = "0.1.0"
INVOKE = Path(sys.executable).with_name("invoke")
EMPTY = "from invoke import task\n\n\n@task\ndef empty(context):\n    pass\n"
AGAINST_PEERS, AGAINST_EMPTY = 3.0, 1.5


@dataclass(frozen=True, slots=True)
class Took:
    """One run: seconds of wall time, and the peak memory of its largest process in bytes."""

    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What is timed: a command, the folder that it runs in, and what is done before each run."""

    argv: tuple[str, ...]
    folder: Path
    nothing: str
    """What it says when there is nothing to do."""
    before: Callable[[], None] = lambda: None


def main() -> None:
    """Prepare everything, time it in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where the release is made, or was (default: a new one)")
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-noop-") as folder:
        home = (asked.folder or Path(folder)).absolute()
        os.environ["GRAFTSMITH_STORE"] = str(_store(home))
        for text in report(home, Path(folder), asked.repeats):
            print(text, flush=True)


def report(home: Path, folder: Path, repeats: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"machine: {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before"
    subjects = {**_ours(home, folder), **_peers(folder)}
    took: dict[str, list[Took]] = {name: [] for name in subjects}
    for subject in subjects.values():  # bytecode, the peers' own caches
        _clock(subject)
    for _ in range(repeats):
        for name, subject in subjects.items():
            took[name].append(_clock(subject))
    for name, runs in took.items():
        seconds = [run.seconds for run in runs]
        memory = median(run.memory for run in runs)
        yield (
            f"{name:<22} {median(seconds):6.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"
            f"  {memory / 1e6:5.0f} MB"
        )
    middle = {name: median(run.seconds for run in runs) for name, runs in took.items()}
    yield from _ratios(middle)
    yield f"load {os.getloadavg()[0]:.1f} after"


def _ratios(middle: Mapping[str, float]) -> Iterator[str]:
    peer = min(("dvc repro", "snakemake"), key=lambda name: middle[name])
    faster, slower = middle[peer] / middle["release"], middle["release"] / middle["empty task"]
    yield f"{peer} / release: {faster:.1f} (goal: at least {AGAINST_PEERS:g})"
    yield f"release / empty task: {slower:.2f} (goal: at most {AGAINST_EMPTY:g})"
    whole = middle["release, no seal"]
    yield f"without a seal: {middle[peer] / whole:.1f} and {whole / middle['empty task']:.2f}"


def _store(home: Path) -> Path:
    """Return a store below ``home`` that shares the environments of the user's."""
    store, users = home / "store", default_root()
    if not store.exists():
        (store / "cache").mkdir(parents=True)
        for name in ("envs", "cache/uv"):
            (users / name).mkdir(parents=True, exist_ok=True)
            (store / name).symlink_to(users / name)
    return store


def _ours(home: Path, folder: Path) -> dict[str, Subject]:
    """Finish the release; return it, the same without its seal, and the empty task."""
    release = (str(INVOKE), "release", "--version", VERSION, "--hub", str(home / "hub"))
    subprocess.run(release, cwd=lines.PROJECT, check=True, stdout=subprocess.DEVNULL)
    seals = home / "store" / "cache" / "seals"
    (folder / "empty").mkdir()
    (folder / "empty" / "tasks.py").write_text(EMPTY)
    return {
        "release": Subject(release, lines.PROJECT, "nothing changed"),
        "release, no seal": Subject(
            release, lines.PROJECT, "nothing changed", lambda: shutil.rmtree(seals, ignore_errors=True)
        ),
        "empty task": Subject((str(INVOKE), "empty"), folder / "empty", ""),
    }


def _peers(folder: Path) -> dict[str, Subject]:
    """Install the peers, let each build the release's steps once, and return them."""
    line = lines.open_line("tiny")
    steps = line.steps(VERSION)
    released = line.store.roots.get(line.recipe.name, VERSION)
    assert released is not None, "released a moment ago"
    trees = {source.name: line.store.folder(source.digest, source.name) for source in steps.sources}
    made = {step.name: line.store.folder(released[step.name].tree, step.name) for step in steps.steps}
    tools = _install(folder / "environment")
    subjects = {}
    for name, describe, argv, nothing in (
        ("dvc repro", _dvc, ("dvc", "repro"), "up to date"),
        ("snakemake", _snakemake, ("snakemake", "--cores", "1"), "Nothing to be done"),
    ):
        home = folder / argv[0]
        _lay_out(home, trees, made, steps.steps)
        describe(home, steps)
        subjects[name] = Subject((str(tools / argv[0]), *argv[1:]), home, nothing)
        subprocess.run(
            subjects[name].argv, cwd=home, check=True, capture_output=True, env=_environment(tools)
        )
    return subjects


def _lay_out(home: Path, trees: Mapping[str, Path], made: Mapping[str, Path], steps: Sequence[Step]) -> None:
    """Copy the sources, what each step made, and its parameters, to where a peer's steps find them."""
    for name, tree in trees.items():
        shutil.copytree(tree, home / "sources" / name)
    for name, tree in made.items():
        shutil.copytree(tree, home / "made" / name)
    (home / "params").mkdir()
    for step in steps:
        (home / "params" / f"{step.name}.json").write_text(json.dumps(dict(step.params), sort_keys=True))


def _dvc(home: Path, graph: Graph) -> None:
    (home / ".dvc").mkdir()
    (home / ".dvc" / "config").write_text("[core]\nno_scm = true\nanalytics = false\ncheck_update = false\n")
    stages = {
        step.name: {"cmd": _command(step), "deps": _inputs(step, graph), "outs": [f"steps/{step.name}"]}
        for step in graph.steps
    }
    (home / "dvc.yaml").write_text(json.dumps({"stages": stages}, indent=1))


def _snakemake(home: Path, graph: Graph) -> None:
    last = [f"steps/{step.name}" for step in graph.steps]
    rules = [f"rule all:\n    input: {last!r}\n"]
    for step in graph.steps:
        name = step.name.replace("-", "_")  # a rule's name is an identifier
        rules.append(
            f"rule {name}:\n    input: {_inputs(step, graph)!r}\n"
            f"    output: directory({f'steps/{step.name}'!r})\n    shell: {_command(step)!r}\n"
        )
    (home / "Snakefile").write_text("\n".join(rules))


def _command(step: Step) -> str:
    return f"mkdir -p steps && cp -r made/{step.name} steps/{step.name}"


def _inputs(step: Step, graph: Graph) -> list[str]:
    sources = {source.name for source in graph.sources}
    made_by = sorted(set(step.inputs.values()))
    folders = [f"{'sources' if name in sources else 'steps'}/{name}" for name in made_by]
    return [f"params/{step.name}.json", *folders]


def _install(venv: Path) -> Path:
    """Install the peers in an environment of their own; return its folder of programs."""
    tools = venv / "bin"
    cache = ("--cache-dir", str(default_root() / "cache" / "uv"), "--quiet")
    for arguments in (
        ("venv", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", str(venv)),
        ("pip", "install", "--python", str(tools / "python"), "-r", str(REQUIREMENTS)),
    ):
        subprocess.run([environment.uv(), *arguments, *cache], check=True)
    return tools


def _environment(tools: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}


def _clock(subject: Subject) -> Took:
    subject.before()
    with tempfile.NamedTemporaryFile() as output:
        done = subprocess.run(
            [sys.executable, "-I", "-S", CLOCK, output.name, *subject.argv],
            cwd=subject.folder,
            env=_environment(Path(subject.argv[0]).parent),
            check=True,
            capture_output=True,
            text=True,
        )
        said = Path(output.name).read_text(errors="replace")
    took = json.loads(done.stdout)
    if took["code"] != 0 or subject.nothing not in said:
        raise RuntimeError(f"{subject.argv[0]} had something to do:\n{said}")
    return Took(took["seconds"], took["memory"])


if __name__ == "__main__":
    main()
