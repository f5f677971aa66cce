"""A release line in a folder of its own, whose results are recorded and never run.

The recipe is the tiny one, the pipeline and the planning are the real ones; checkpoints
are a few bytes, and what a step gives is a file that says which step it was.
"""

import json
import shutil
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence, Measurement, dump
from recipes.formats.step import Workdir
from release import line as lines
from release import lock as locks
from release import recall
from release.derivation import Derivation
from release.engines.environment import uv_version
from release.line import PROJECT, Line
from release.plan import Planned, Status
from release.realize import Done
from release.recipe import source_path
from release.store import Realization

PLAIN = ("recipe.toml", "prompts.jsonl", "checks.jsonl", "fidelity.jsonl", "calibration.jsonl")


def make(folder: Path) -> Path:
    """Make the line below ``folder`` and return its recipe's folder."""
    home = folder / "recipes" / "mini"
    home.mkdir(parents=True)
    shutil.copytree(PROJECT / "recipes" / "templates", folder / "recipes" / "templates")
    for name in PLAIN:
        shutil.copyfile(PROJECT / "recipes" / "tiny" / name, home / name)
    shutil.copytree(PROJECT / "recipes" / "tiny" / "sanity", home / "sanity")
    for name in ("base", "master"):
        (home / name).mkdir()
        (home / name / "model.safetensors").write_text(name)
        (home / name / "config.json").write_text("{}")
    return home


def build(home: Path, version: str, *, figure: float = 2.6) -> dict[str, Done]:
    """Lock the line, and record a result for every step that lacks one and the release record."""
    line = lines.open_line(str(home))
    locks.write(line.recipe, line.resolve())
    steps = line.steps_of(line.resolve(), version)
    explained = recall.manifests(lines.code_of(line, steps), line.images, uv_version())
    with line.store.running():
        line.store.hold(line.recipe.name, {s.name: s.digest for s in steps.sources}, explained)
        for source in steps.sources:
            path = source_path(line.recipe, line.recipe.sources[source.name])
            line.store.ingest(path, line.trees[source.name])
        while any(item.status is not Status.HIT for item in lines.plan_line(line, steps)):
            for item in lines.plan_line(line, steps):
                if item.status is Status.BUILD:
                    _record(line, item, figure)
        done = {item.step.name: _done(item) for item in lines.plan_line(line, steps)}
        lines.keep(line, version, done)
    return done


def _record(line: Line, item: Planned, figure: float) -> None:
    assert item.derivation is not None
    work = Workdir(line.store.scratch(item.derivation.key))
    text = json.dumps(item.derivation.params, sort_keys=True) + str(dict(item.derivation.inputs))
    work.new(f"{item.step.name}.txt").write_text(text)
    if item.step.name.startswith("smoke"):
        measured = Measurement(name="acceptance_length", value=figure, unit="tokens", n=1, how="")
        work.new(EVIDENCE_FILE).write_text(dump(Evidence(measurements=(measured,))))
    work.finish()
    log = line.store.logs.start(line.recipe.name, item.step.name, item.derivation.key)
    if item.step.image:
        log.write_text(f"{item.step.name} said this\n")
    tree = line.store.commit(work.root / "out", item.derivation.inputs)
    line.store.record(_realization(item.derivation, item.step.name, tree), line.recipe.name)
    shutil.rmtree(work.root)


def _realization(derivation: Derivation, name: str, tree: str) -> Realization:
    return Realization(
        key=derivation.key,
        name=name,
        tree=tree,
        derivation=derivation.to_json(),
        seconds=1.0,
        engine="test",
    )


def _done(item: Planned) -> Done:
    assert item.derivation is not None
    assert item.tree is not None
    return Done(key=item.derivation.key, tree=item.tree, size=0, seconds=1, built=True, isolation={})
