"""Runs a step as the engines do: its closure as a process of its own, in a scratch folder."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from recipes.formats import progress
from recipes.formats.step import TREE_FILE, Taken, parse_tree
from release import closure

REPOSITORY = Path(__file__).parents[3]
KEEP_BF16 = ("*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*")
"""The ignore list that follows where the whole body is packed."""
PRECISION: Mapping[str, object] = MappingProxyType(
    {"in_proj_ab": "nvfp4", "linear_attention": "nvfp4", "activations": "nvfp4"}
)
"""The options of a recipe that packs the whole body, activations too."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run left: its exit status, its error message, the log, and the tree it declared."""

    code: int
    error: str
    log: str
    files: Mapping[str, Taken | None]
    tree: Path


def run_step(
    step: str,
    root: Path,
    inputs: Mapping[str, Path],
    params: Mapping[str, object],
    python: Path = Path(sys.executable),
) -> Ran:
    """Run ``step`` below ``root`` with ``python`` and build its tree by hard links."""
    work = root / "work"
    for folder in ("in", "out", "state"):
        (work / folder).mkdir(parents=True)
    for name, source in inputs.items():
        (work / "in" / name).symlink_to(source.resolve(), target_is_directory=True)
    (work / "params.json").write_text(json.dumps(dict(params)))
    closure.of_step(REPOSITORY, step).write(root / "code")
    done = subprocess.run(
        [python, "-I", root / "code", "--root", work],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(work / "state"), "HF_HUB_OFFLINE": "1"},
    )
    errors = [line for line in map(progress.parse, done.stdout.splitlines()) if isinstance(line, str)]
    files = parse_tree((work / "out" / TREE_FILE).read_text()) if done.returncode == 0 else {}
    _build(work, files, root / "tree")
    return Ran(done.returncode, "".join(errors), done.stderr, files, root / "tree")


def _build(work: Path, files: Mapping[str, Taken | None], tree: Path) -> None:
    tree.mkdir()
    for path, taken in files.items():
        source = work / "out" / path if taken is None else work / "in" / taken.input / taken.path
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(source.resolve(), tree / path)
