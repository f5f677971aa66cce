"""What a change costs on a finished release: ``why`` names it, and only what it reaches runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.house import PROJECT, House

SMOKE = {"smoke-nvfp4", "smoke-master"}
AFTER_GATE = {"card-nvfp4", "card-master", "report", "assemble-nvfp4", "assemble-master"}
BILLS = {"sbom-nvfp4", "sbom-master"}
"""They name what was measured of the model."""

NOT_SHARED = shutil.ignore_patterns("locks", "pins", "scratch")
"""Locks are inodes: two stores must not share them."""

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # looks at a whole tiny release
    pytest.mark.timeout(900),
]


class Copy:
    """The project and the store of a finished release, copied: both may be changed."""

    def __init__(self, root: Path, released: House) -> None:
        self.project = root / "project"
        self.store = root / "store"
        self.hub = released.hub
        for folder in ("release", "images", "recipes"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / folder, self.project / folder, ignore=ignored)
        for file in ("tasks.py", "uv.lock", "pyproject.toml"):
            shutil.copyfile(PROJECT / file, self.project / file)
        shutil.copytree(released.store, self.store, symlinks=True, copy_function=os.link, ignore=NOT_SHARED)

    def invoke(self, *arguments: str) -> str:
        """Run ``invoke`` in the copy; return what it prints."""
        done = subprocess.run(
            [Path(sys.executable).with_name("invoke"), *arguments],
            cwd=self.project,
            env={**os.environ, "GRAFTSMITH_STORE": str(self.store)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def release(self) -> str:
        """Ask for the finished release again."""
        return self.invoke("release", "--version", "0.1.0", "--hub", str(self.hub))

    def statuses(self) -> dict[str, set[str]]:
        """Return the steps by what would happen to them."""
        found: dict[str, set[str]] = {"hit": set(), "build": set(), "wait": set()}
        for step in json.loads(self.invoke("status", "--json"))["steps"]:
            found[step["status"]].add(step["step"])
        return found

    def why(self, step: str) -> Sequence[Mapping[str, Any]]:
        """Return the fields that ``why`` names."""
        differences: Sequence[Mapping[str, Any]] = json.loads(self.invoke("why", step, "--json"))[
            "differences"
        ]
        return differences

    def results(self) -> dict[str, str]:
        """Return the steps that have a result, by key."""
        files = (self.store / "realizations").glob("[!.]*.json")
        return {path.stem: json.loads(path.read_text())["name"] for path in files}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the first ``old`` in a file of the project."""
        path = self.project / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))


@pytest.fixture
def copy(released: House, tmp_path: Path) -> Copy:
    copy = Copy(tmp_path, released)
    copy.release()  # other tests may have run other recipes last
    return copy


def test_one_changed_prompt_is_all_that_why_names_and_runs_smoke_and_what_follows(copy: Copy) -> None:
    copy.edit("recipes/tiny/prompts.jsonl", "42 apples", "43 apples")
    for step in SMOKE:
        (difference,) = copy.why(step)
        assert difference["field"] == "inputs.prompts"
        assert difference["files"] == ["prompts.jsonl changed"]
    statuses = copy.statuses()
    assert statuses["build"] == SMOKE
    assert statuses["wait"] == {"gate"} | AFTER_GATE | BILLS


def test_a_comment_in_the_host_code_runs_nothing(copy: Copy) -> None:
    before = copy.results()
    for file in (copy.project / "release").rglob("*.py"):
        file.write_text(file.read_text() + "# a comment\n")
    statuses = copy.statuses()
    assert not statuses["build"] | statuses["wait"]
    said = copy.release()
    assert "0 to build" in said
    assert "nothing changed" in said
    assert copy.results() == before


def test_a_changed_threshold_costs_the_gate_and_what_follows(copy: Copy) -> None:
    before = copy.results()
    copy.edit("recipes/tiny/recipe.toml", "at_least = 0.9\n", "at_least = 0.8\n")
    (difference,) = copy.why("gate")
    assert difference["field"] == "params.gates[replies-end-by-themselves].at_least"
    assert (difference["before"], difference["after"]) == ("0.9", "0.8")
    statuses = copy.statuses()
    assert statuses["build"] == {"gate"}
    assert statuses["wait"] == AFTER_GATE
    copy.invoke("card", "--version", "0.1.0")
    new = [name for key, name in copy.results().items() if key not in before]
    assert sorted(new) == ["card-master", "card-nvfp4", "gate", "report"]  # whose pictures a card shows
