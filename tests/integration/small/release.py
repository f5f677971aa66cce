"""A release without a model server, from sources to folder Hub, in one short process.

    python -m tests.integration.small.release ROOT [VERSION]

It is the pipeline's own graph on the tiny line. What a model run or a server makes
(calibration, figures, card) is taken as a source; every other step runs for real, in the
local engine. ROOT holds ``store/``, ``hub/`` and ``made/`` (those sources). The last line
printed is a JSON report. GRAFTSMITH_CACHE names a remote cache, as it does for a user;
SMALL_CACHE_PUSH pushes to it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from recipes.formats.progress import Update
from release import digest, pipeline
from release import line as lines
from release.cache.choice import Choice
from release.derivation import Source, Step
from release.errors import GraftsmithError
from release.hub.folder import FolderHub
from release.hub.transaction import Release, RepoTree, publish
from release.line import Line
from release.plan import Graph
from release.realize import Done
from release.store import Store, default_root

PROJECT = lines.PROJECT
CALIBRATION = Path(__file__).with_name("calibration.json")
MADE: Mapping[str, tuple[str, ...]] = {
    "calibrate": ("calibration.json", "evidence.json"),
    "gate": ("verdicts.json",),
    "smoke-nvfp4": ("evidence.json", "memory.jsonl", "replies.jsonl"),
    "smoke-master": ("evidence.json", "memory.jsonl", "replies.jsonl"),
    "fidelity": ("evidence.json", "rows.jsonl", "worst.jsonl"),
    "sanity-nvfp4": ("evidence.json", "memory.jsonl", "answers.jsonl"),
    "sanity-master": ("evidence.json", "memory.jsonl", "answers.jsonl"),
    "card-nvfp4": ("README.md", "LICENSE", "NOTICE"),
    "card-master": ("README.md", "LICENSE", "NOTICE"),
    "report": ("report.html", "acceptance-positions.svg", "acceptance-domains.svg", "throughput.svg"),
    "sbom-nvfp4": ("sbom.cdx.json",),
    "sbom-master": ("sbom.cdx.json",),
}
"""Steps that are taken as sources, and the files of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a release did: each step's tree, which were built now, and what stands on the Hub."""

    trees: Mapping[str, str]
    built: tuple[str, ...]
    waited: tuple[str, ...]
    sums: tuple[str, ...]
    state: str
    hashed: int
    cached: tuple[str, ...]

    @property
    def digests(self) -> tuple[object, object]:
        """What is the same whatever happened on the way."""
        return dict(self.trees), tuple(self.sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A finished small release: where it lies, and its report."""

    root: Path
    report: Report


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.waited: list[str] = []

    def started(self, step: Step, key: str) -> None:
        """Hear that a step begins."""

    def waiting(self, step: Step, key: str) -> None:
        """Hear that another release builds this key."""
        self.waited.append(step.name)

    def progress(self, step: Step, update: Update) -> None:
        """Hear how far a step is."""

    def finished(self, step: Step, done: Done) -> None:
        """Hear that a step's tree is in the store."""


def prepare(root: Path) -> None:
    """Make the folders of a release below ``root``; the environments are the user's."""
    store = root / "store"
    (store / "cache").mkdir(parents=True)
    (default_root() / "envs").mkdir(parents=True, exist_ok=True)
    (store / "envs").symlink_to(default_root() / "envs")
    for name, files in MADE.items():
        folder = root / "made" / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text(f"{name} {file}\n")
    shutil.copyfile(CALIBRATION, root / "made" / "calibrate" / CALIBRATION.name)


def start(root: Path, version: str = "1.0.0", **env: str) -> "subprocess.Popen[str]":
    """Start the small release below ``root`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.small.release", str(root), version],
        cwd=PROJECT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(root: Path, version: str = "1.0.0", **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the small release below ``root`` in a process of its own, to its end."""
    with start(root, version, **env) as process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def parse(printed: str) -> Report:
    """Return the report that a release printed."""
    report: dict[str, object] = json.loads(printed.splitlines()[-1])
    lists = {name: tuple(value) for name, value in report.items() if isinstance(value, list)}
    return Report(**{**report, **lists})  # type: ignore[arg-type]


def release(root: Path, version: str = "1.0.0") -> Report:
    """Release the tiny line below ``root``."""
    os.environ["GRAFTSMITH_STORE"] = str(root / "store")
    line, steps = open_small(root, version)
    ear = Ear()
    choice = Choice(push=bool(os.environ.get("SMALL_CACHE_PUSH")))
    cache = choice.open(line.store, line.recipe.name, lambda text: print(text, file=sys.stderr))  # noqa: T201
    done = lines.realize_line(line, steps, ear, cache)
    repos = line.recipe.repos
    trees = tuple(
        _repo_tree(line.store, done, f"assemble-{kind}", repo)
        for kind, repo in (("master", repos.master), ("nvfp4", repos.nvfp4))
    )
    outcome = publish(FolderHub(root / "hub"), Release(version=version, repos=(trees[0], trees[1])))
    lines.keep(line, version, done)
    return Report(
        trees={name: step.tree for name, step in done.items()},
        built=tuple(name for name, step in done.items() if step.built),
        waited=tuple(ear.waited),
        sums=tuple(repo.sums for repo in outcome.repos),
        state=outcome.state.value,
        hashed=digest.hashed.bytes,
        cached=tuple(name for name, step in done.items() if step.pulled is not None),
    )


def open_small(root: Path, version: str) -> tuple[Line, Graph]:
    """Open the tiny line with the made sources in place of the steps that make them."""
    line = lines.open_line("tiny")
    whole = pipeline.graph(line.recipe, line.resolve(), line.images, version, line.machine())
    made = {name: root / "made" / name for name in MADE}
    cache = line.store.stat_cache
    named = {**line.recipe.sources, **{name: f"path:{path}" for name, path in made.items()}}
    line = replace(
        line,
        recipe=replace(line.recipe, sources=named),
        trees={**line.trees, **{name: cache.tree(path) for name, path in made.items()}},
    )
    cache.save()
    steps = tuple(step for step in whole.steps if step.name not in MADE)
    read = {name for step in steps for name in step.inputs.values()}
    sources = tuple(
        Source(name=name, digest=tree.digest) for name, tree in line.trees.items() if name in read
    )
    return line, Graph(sources=sources, steps=steps)


def main() -> int:
    """Run one release and print its report."""
    try:
        report = release(Path(sys.argv[1]), *sys.argv[2:3])
    except GraftsmithError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    return 0


def _repo_tree(store: Store, done: Mapping[str, Done], step: str, repo: str) -> RepoTree:
    tree = store.tree(done[step].tree)
    assert tree is not None
    return RepoTree(repo=repo, root=store.folder(done[step].tree, step), tree=tree)


if __name__ == "__main__":
    sys.exit(main())
