"""What a step costs beside its own work: in a container, in the local engine, and without either.

    python -m benchmarks.engines [--images DIR] [--repeats N]

A step of the image ``quantize`` that does nothing is run in turn by

- the docker engine: container, mounts, probe of its isolation, log and progress;
- the local engine: namespaces and Landlock around the environment's Python;
- ``docker run --rm`` of the same image with ``python -c pass``: what a user would type;
- that Python alone: no isolation, the limit.

Needs a Docker engine and the image (``invoke build-image --name quantize``). Seconds are
medians over N runs in turn. Say what else the machine was doing.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from release.closure import Code
from release.derivation import Step
from release.digest import Tree
from release.engines import environment
from release.engines.docker import DockerEngine, require_built
from release.engines.local import LocalEngine
from release.home import PROJECT
from release.hoststep import Input
from release.images import Image, load
from release.realize import Job, Runner
from release.store import Store, default_root, durable

FORMATS = (
    "recipes/__init__.py",
    "recipes/formats/__init__.py",
    "recipes/formats/step.py",
    "recipes/formats/progress.py",
)
NOTHING = b"from recipes.formats.step import run\n\n\ndef main(work):\n    pass\n\n\nrun(main)\n"
KEY = "0" * 64


def main() -> int:
    """Run the four in turn and print what each took."""
    asked = _parser().parse_args()
    store = Store(default_root())
    image = load(asked.images, "quantize", "cpu", store.stat_cache)
    with tempfile.TemporaryDirectory(dir=store.root) as scratch:
        subjects = _subjects(store, image, Path(scratch))
        for run in subjects.values():  # the first run fills caches
            run()
        took: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(asked.repeats):
            for name, run in subjects.items():
                began = time.monotonic()
                run()
                took[name].append(time.monotonic() - began)
    local = median(took["local engine"])
    for name, seconds in took.items():
        middle = median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{name:<20} {middle:6.2f} s  ({spread})  {middle / local:5.2f} x the local engine")
    print(f"docker adds {median(took['docker engine']) - local:.2f} s to a step; {asked.repeats} runs each")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, default=PROJECT / "images")
    parser.add_argument("--repeats", type=int, default=10)
    return parser


def _subjects(store: Store, image: Image, root: Path) -> Mapping[str, Callable[[], None]]:
    docker = DockerEngine(store=store, images={"quantize": image.in_container()}, code_of=_code)
    local = LocalEngine(store=store, images={"quantize": image}, code_of=_code)
    python = environment.provide(image, store, lambda _: None).python
    tag = require_built(image.in_container(), store).tag
    return {
        "docker engine": lambda: _step(docker, store, root),
        "local engine": lambda: _step(local, store, root),
        "docker run": lambda: _run("docker", "run", "--rm", "--network", "none", tag, "python", "-c", "pass"),
        "python alone": lambda: _run(str(python), "-I", "-c", "pass"),
    }


def _code(_: str) -> Code:
    files = {name: (PROJECT / name).read_bytes() for name in FORMATS}
    return Code({**files, "__main__.py": NOTHING})


def _step(engine: Runner, store: Store, root: Path) -> None:
    scratch, given = store.scratch(KEY), root / "in"
    durable.remove(scratch)
    for folder in (given, *(scratch / name for name in ("in", "out", "state"))):
        folder.mkdir(parents=True, exist_ok=True)
    (scratch / "params.json").write_text("{}")
    with store.lock(KEY) as lock:
        engine.run(
            Job(
                step=Step(name="nothing", does="nothing", image="quantize"),
                inputs={"some": Input(given, Tree({}))},
                scratch=scratch,
                log=root / "log",
                lock_fd=lock.fd,
                progress=lambda _: None,
            )
        )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
