"""Run a step's real code in a folder, as an engine does but for the isolation."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.gpu_bench import Figures, environment
from benchmarks.measure import Ran, run
from recipes.formats import progress
from recipes.formats.step import parse_tree


def step(
    name: str,
    root: Path,
    params: Figures,
    *,
    python: Path | str = sys.executable,
    variables: Mapping[str, str] | None = None,
    started: Callable[[int], None] = lambda _: None,
    said: Callable[[str], None] = lambda _: None,
) -> Ran:
    """Run a step's real code in ``root``, by ``python``. Raises SystemExit with what it said."""
    (root / "params.json").write_text(json.dumps(params))
    code = f"from recipes.formats.step import run; from recipes.steps.{name}.main import main; run(main)"
    env = {**environment(), **(variables or {})}
    ran = run([python, "-c", code, "--root", root], env, root / "log", started, said)
    sys.stderr.write(ran.log)
    if ran.code != 0:
        raise SystemExit(f"{name}: exit code {ran.code}: {ran.lines[-1:]}")
    return ran


def fresh(root: Path, *, keep_state: bool = False) -> None:
    """Empty a step's folders; ``keep_state`` leaves what an earlier try had."""
    for name in ("in", "out", "tree", *(() if keep_state else ("state",))):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("in", "out", "state"):
        (root / name).mkdir(parents=True, exist_ok=True)


def link_inputs(root: Path, inputs: Mapping[str, Path]) -> None:
    """Link a step's inputs by name."""
    for name, folder in inputs.items():
        (root / "in" / name).symlink_to(folder.resolve(), target_is_directory=True)


def tree(root: Path) -> Path:
    """Put a step's result together, by hard links as the store does."""
    tree = root / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for path, taken in parse_tree((root / "out" / "tree.json").read_text()).items():
        source = root / "out" / path if taken is None else root / "in" / taken.input / taken.path
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), tree / path)
        except OSError:
            shutil.copyfile(source, tree / path)
    return tree


def cost(ran: Ran) -> Figures:
    """Return the seconds and the peak of anonymous memory."""
    return {"step_s": ran.seconds, "peak_anonymous_gib": ran.anonymous / 2**30}


def phases(ran: Ran) -> dict[str, float]:
    """Return how long each part of a step took, by its own progress lines."""
    began: dict[str, float] = {}
    for at, line in ran.lines:
        if isinstance(update := progress.parse(line), progress.Update):
            began.setdefault(update.at, at)
    ends = [*list(began.values())[1:], ran.seconds]
    return {name: end - begin for (name, begin), end in zip(began.items(), ends, strict=True)}
