"""The commands on a card run: each block is a shell's, and the switches do what the card says."""

import re
import subprocess
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
FLAGSHIP = Path(__file__).parents[1] / "golden"
CARDS = sorted([*GOLDEN.glob("*.README.md"), *FLAGSHIP.glob("*.README.md")])


def _blocks(card: Path) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", card.read_text(), re.DOTALL)


def _run(script: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-eu"], input=script, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True
    )


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_block_is_a_shells(card: Path) -> None:
    assert _blocks(card)
    for block in _blocks(card):
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("vision", ["", "0", "1"])
def test_enable_vision_leaves_the_tower_in(vision: str) -> None:
    block = next(block for block in _blocks(FLAGSHIP / "flagship.nvfp4.README.md") if "vllm serve" in block)
    ran = _run('vllm() { printf "%s\\n" "$@"; }\n' + block, ENABLE_VISION=vision)
    assert ran.returncode == 0, ran.stderr
    assert ("--language-model-only" in ran.stdout.splitlines()) == (vision != "1")
    assert '{"method": "mtp", "num_speculative_tokens": 2}' in ran.stdout.splitlines()
