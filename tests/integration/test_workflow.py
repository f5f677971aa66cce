"""The release workflow's scripts, one after another as the workflow runs them, on the tiny line."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.house import PROJECT, House
from tests.unit.workflows.workflow import FOLDER, Step, jobs

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # a set-up of its own, and a release whose steps are hits
    pytest.mark.timeout(900),
]


def checkout(folder: Path) -> None:
    """Lay out what a checkout would hold: every file that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)


def scripts(*wanted: str) -> list[Step]:
    """Return the steps with a script of the jobs ``wanted``, in the order of the workflow."""
    found = [job for job in jobs(FOLDER / "release.yml") if job.name in wanted]
    return [step for job in found for step in job.steps if step.run]


def carry(prepared: Path, attested: Path) -> None:
    """Copy what the job ``attest`` hands on."""
    for path in (*prepared.glob("*/provenance*.json"), *prepared.glob("*/model.sig")):
        (attested / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, attested / path.parent.name / path.name)


def test_the_workflow_releases_what_a_person_releases(released: House, tmp_path: Path) -> None:
    folder, summary = tmp_path / "checkout", tmp_path / "summary.md"
    checkout(folder)
    environment = {
        **released.environment,
        "GITHUB_STEP_SUMMARY": str(summary),
        "HUB": str(tmp_path / "hub"),
        "RECIPE": "tiny",
        "VERSION": "v0.1.0",
    }
    for step in scripts("prepare", "attest", "publish"):
        if step.name == "Publish":  # what the artifacts of the workflow carry from job to job
            carry(folder / "prepared", folder / "attested")
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step.run],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{step.job}: {step.name}: {done.stdout}{done.stderr}"
    assert "## Plan" in summary.read_text() and "# Graftsmith Tiny Cascade" in summary.read_text()
    for kind, repo in (("master", "tiny-cascade"), ("nvfp4", "tiny-cascade-NVFP4-MTP")):
        sums = (tmp_path / "hub" / "graftsmith" / repo / "v0.1.0" / "SHA256SUMS").read_text()
        assert sums == (folder / "prepared" / f"assemble-{kind}" / "SHA256SUMS").read_text()
        by_hand = released.hub / "graftsmith" / repo / "v0.1.0" / "SHA256SUMS"
        assert sums == by_hand.read_text(), "the same release as by hand"
    assert "HF_TOKEN" not in environment
