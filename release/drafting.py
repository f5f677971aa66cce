"""``invoke card``: the cards of a version, or a draft of them before anything was measured.

A draft takes what the store has of each input, builds nothing, and says "not measured" for
the rest. It is written beside the project and can be published by nothing.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from recipes.formats.evidence import Evidence
from release import allowlist, verdicts
from release import line as lines
from release import recipe as recipes
from release.card import step as card_step
from release.derivation import Step
from release.digest import Json, Tree
from release.errors import UsageError
from release.gates.judging import Found, judge_all
from release.gates.wanted import parse_gates
from release.hoststep import Input
from release.line import Line
from release.pipeline import KINDS, measured
from release.report.terminal import Terminal
from release.store import durable

DRAFTS = lines.PROJECT / "dist" / "drafts"


def release_cards(recipe: str, version: str, terminal: Terminal) -> Mapping[str, Path]:
    """Render the cards of ``version``, building what they need and show; return their folders by kind."""
    if not version:
        raise UsageError("which version? A card is one version's", hint="add --version X, or --draft")
    line = lines.open_line(recipe)
    targets = {kind: f"card-{kind}" for kind in KINDS}
    steps = line.steps(lines.parse_version(version)).only([*targets.values(), "report"])
    try:
        done = lines.realize_line(line, steps, terminal)
    finally:
        terminal.stop()
    return {kind: line.store.folder(done[target].tree, target) for kind, target in targets.items()}


def draft_cards(recipe: str, version: str = "", folder: Path = DRAFTS) -> Mapping[str, Path]:
    """Render both cards as drafts from what is known now; return their folders by kind."""
    line = lines.open_line(recipe)
    version = lines.parse_version(version) if version else lines.latest(line)
    steps = line.steps_of(line.resolve(), version)
    known = _known(line, {item.step.name: item.tree for item in lines.plan_line(line, steps) if item.tree})
    written = {}
    with tempfile.TemporaryDirectory() as scratch:
        known.setdefault("gate", _unjudged(line.recipe, Path(scratch)))
        for step in steps.steps:
            if step.does == "card":
                written[str(step.params["kind"])] = _draft(line, step, known, folder / line.recipe.name)
    return written


def pictures(recipe: str, version: str = "") -> Mapping[str, Path]:
    """Return the pictures that the cards of a version show and the store has, by their paths in a repo."""
    line = lines.open_line(recipe)
    steps = line.steps_of(line.resolve(), version or lines.latest(line))
    built = {item.step.name: item.tree for item in lines.plan_line(line, steps) if item.tree}
    found = {}
    for path in allowlist.PICTURES:
        _, step, file = path.split("/")
        if step in built:
            found[path] = line.store.folder(built[step], step) / file
    return found


def _draft(line: Line, step: Step, known: Mapping[str, Input], folder: Path) -> Path:
    kind = str(step.params["kind"])
    inputs = {name: known[made_by] for name, made_by in step.inputs.items() if made_by in known}
    result = card_step.card(inputs, {**step.params, "draft": True, "profile": _profile(line.recipe, kind)})
    for name, data in result.new.items():
        durable.write(folder / kind / name, data)
    return folder / kind


def _known(line: Line, built: Mapping[str, str]) -> dict[str, Input]:
    """Return the inputs that are there: sources on this machine, and what the store has built."""
    paths = recipes.path_sources(line.recipe)
    sources = {name: Input(paths[name], tree) for name, tree in line.trees.items()}
    trees = {step: line.store.tree(digest) for step, digest in built.items()}
    shown = {
        step: Input(line.store.folder(built[step], step), tree)
        for step, tree in trees.items()
        if tree is not None
    }
    return {**sources, **shown}


def _unjudged(recipe: recipes.Recipe, folder: Path) -> Input:
    """Return the verdicts on a release that nobody has measured: each gate says what it wants."""
    names = ("prove", *measured(recipe))
    rows = parse_gates([dict(row) for row in recipe.gates], names)
    judged = judge_all(rows, Found(evidence={name: Evidence() for name in names}))
    (folder / verdicts.VERDICTS_FILE).write_text(verdicts.dump(judged))
    return Input(folder, Tree({}))


def _profile(recipe: recipes.Recipe, kind: str) -> Json:
    serve = recipe.serve_nvfp4 if kind == "nvfp4" else recipe.serve_master
    return {
        "serve": dict(serve),
        "sampling": {**recipe.sampling, "max_tokens": recipe.smoke.max_tokens},
    }
