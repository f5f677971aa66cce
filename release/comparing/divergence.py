"""``--kl``: the step ``fidelity`` on two folders, outside of any release; nothing of it is kept."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from recipes.formats import progress
from recipes.formats.evidence import EVIDENCE_FILE, Evidence, parse
from recipes.formats.progress import Update
from release import closure
from release.engines import environment
from release.errors import BuildError, UsageError
from release.images import load
from release.line import PROJECT
from release.pipeline import CPU_VARIANT
from release.store import Store, default_root

STEP, IMAGE = "fidelity", "quantize"
LENGTH = 2048


def measure(first: Path, second: Path, texts: Path) -> Evidence:
    """Run both models over the rows of file ``texts``; the first is the one that is held to.

    Raises UsageError where there is no such file, BuildError with what the step said.
    """
    if not texts.is_file():
        raise UsageError(
            f"--kl: {texts}: no such file", hint="give a file of rows, as recipes/tiny/fidelity.jsonl"
        )
    store = Store(default_root())
    image = load(PROJECT / "images", IMAGE, CPU_VARIANT, store.stat_cache)
    python = environment.provide(image, store, _silent).python
    with tempfile.TemporaryDirectory(prefix="graftsmith-compare-") as folder:
        root = Path(folder)
        _lay_out(root, first, second, texts)
        done = subprocess.run(
            [python, "-I", root / "code", "--root", root],
            env={"PATH": os.environ.get("PATH", ""), "HOME": folder, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = [line for line in map(progress.parse, done.stdout.splitlines()) if isinstance(line, str)]
            raise BuildError(
                f"--kl: {said[-1] if said else done.stderr[-500:]}",
                hint="compare without --kl, or give two folders with tokenizer and chat template",
            )
        return parse((root / "out" / EVIDENCE_FILE).read_text())


def _lay_out(root: Path, first: Path, second: Path, texts: Path) -> None:
    for name in ("in", "out", "state", "rows"):
        (root / name).mkdir()
    (root / "rows" / "fidelity.jsonl").write_bytes(texts.read_bytes())
    for name, target in (("master", first), ("nvfp4", second), ("rows", root / "rows")):
        (root / "in" / name).symlink_to(target.resolve(), target_is_directory=True)
    params = {"max_seq_len": LENGTH, "rows_license": "not published", "slow_linear_attention": True}
    (root / "params.json").write_text(json.dumps(params))
    closure.of_step(PROJECT, STEP).write(root / "code")


def _silent(_: Update) -> None:
    """Say nothing: an environment is there, or is built without a word."""
