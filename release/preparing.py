"""``invoke prepare``: everything of a release but publishing it.

A machine that builds holds no token that writes; what it hands on is small: the sums of
both trees, which a signer needs, and the evidence, which an approver reads.
"""

import shutil
from pathlib import Path

from release import line as lines
from release.assemble import SUMS_FILE
from release.record import RECORD_FILE
from release.report.terminal import Terminal

STEPS = ("assemble-master", "assemble-nvfp4")
HANDED_ON = (SUMS_FILE, RECORD_FILE, "evidence", "README.md")


def prepare_version(recipe: str, version: str, out: Path | None, terminal: Terminal) -> None:
    """Build, prove, measure, gate and assemble both trees; say where they are.

    With ``out``, each tree's sums, record, evidence and card are copied to ``out/<step>``.
    """
    line = lines.open_line(recipe)
    steps = line.steps(lines.parse_version(version)).only(STEPS)
    try:
        done = lines.realize_line(line, steps, terminal)
    finally:
        terminal.stop()
    for step in STEPS:
        tree = line.store.folder(done[step].tree, step)
        terminal.say(f"{step}: {tree}")
        if out is not None:
            _hand_on(tree, out / step)
    if out is not None:
        terminal.say(f"sums and evidence: {out}")


def _hand_on(tree: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in HANDED_ON:
        source = tree / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.is_file():
            shutil.copyfile(source, target / name)
