"""The tutorial works: each of its commands, in its order, in a checkout of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.house import PROJECT, House
from tests.integration.test_workflow import checkout

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # reuses a release; a second line is calibrated, quantized and proved
    pytest.mark.timeout(600),
]

TUTORIAL = (PROJECT / "docs" / "tutorial.md").read_text()
SAYS = {
    "invoke doctor": "this machine, for tiny",
    "invoke release --version 0.1.0 --dry-run": "calibrate",
    "invoke release --version 0.1.0": "tiny 0.1.0",
    "invoke gate": "acceptance-length",
    "invoke init mine": "wrote",
    "invoke build --recipe mine": "prove:",
    "invoke card --recipe mine --draft": "card-nvfp4",
    "invoke store.gc": "store",
}
"""What a reader is to see, by the beginning of a command; the first that fits."""


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    set_up = [line for line in lines if "uv sync" in line or "activate" in line]
    assert len(set_up) == 2, "what the tests have done already"
    return [line for line in lines if line not in set_up]


def test_every_command_of_the_tutorial(released: House, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    checkout(folder)
    environment = {
        **released.environment,
        "PATH": f"{Path(sys.executable).parent}:{released.environment['PATH']}",
    }
    for command in commands():
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        words = next((words for beginning, words in SAYS.items() if command.startswith(beginning)), "")
        assert words in done.stdout, f"{command}\n{done.stdout}"
    assert not (folder / "recipes" / "mine").exists()
