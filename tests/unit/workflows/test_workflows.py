"""Workflows: valid, pinned, with the least rights, and made of commands that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.workflows.workflow import FILES, PROJECT, jobs, load

TOOLS = Path(sys.executable).parent
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
OURS = "self-hosted"

by_name = pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)


def run(*argv: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(TOOLS / argv[0]), *argv[1:]],
        cwd=PROJECT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_are_the_three_that_the_readme_names() -> None:
    assert [file.stem for file in FILES] == ["ci", "image", "release"]


@by_name
def test_github_would_read_it(file: Path) -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(file))
    assert done.returncode == 0, done.stdout


@by_name
def test_an_auditor_finds_nothing(file: Path) -> None:
    done = run("zizmor", "--offline", "--no-progress", "--format", "plain", str(file))
    assert done.returncode == 0, done.stdout


@by_name
def test_every_script_passes_shellcheck(file: Path) -> None:
    for job in jobs(file):
        for step in job.steps:
            if step.run:
                done = run("shellcheck", "--shell=bash", "-", stdin=f"set -eo pipefail\n{step.run}")
                assert done.returncode == 0, f"{job.name}: {step.name}: {done.stdout}"


@by_name
def test_actions_are_pinned_by_commit(file: Path) -> None:
    for job in jobs(file):
        for step in job.steps:
            assert not step.uses or PINNED.fullmatch(step.uses), f"{job.name}: {step.uses}"


@by_name
def test_nothing_is_allowed_that_a_job_does_not_name(file: Path) -> None:
    assert load(file)["permissions"] == {}
    assert all(job.permissions.get("contents", "read") == "read" for job in jobs(file))


@by_name
def test_what_a_fork_sends_never_runs_on_our_machine(file: Path) -> None:
    triggers = load(file)[True]
    if "pull_request" in triggers or "pull_request_target" in triggers:
        assert not any(OURS in job.runs_on for job in jobs(file))


@by_name
def test_a_checkout_leaves_no_token_behind(file: Path) -> None:
    for job in load(file)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_only_the_job_that_a_person_approves_can_write_to_the_hub() -> None:
    (release,) = (file for file in FILES if file.stem == "release")
    found = {job.name: job for job in jobs(release)}
    assert found["publish"].environment == "release"
    assert found["prepare"].permissions == {"contents": "read"}
    assert [name for name, job in found.items() if any("--hub" in step.run for step in job.steps)] == [
        "publish"
    ]


def test_signing_sees_sums_alone_and_has_its_own_identity() -> None:
    (release,) = (file for file in FILES if file.stem == "release")
    found = {job.name: job for job in jobs(release)}
    attest = found["attest"]
    assert OURS not in attest.runs_on
    assert attest.permissions == {"contents": "read", "id-token": "write"}
    assert "id-token" not in found["prepare"].permissions
    needs = {name: job.get("needs") for name, job in load(release)["jobs"].items()}
    assert (needs["attest"], needs["publish"]) == ("prepare", "attest")
    assert any("invoke attest" in step.run for step in attest.steps)
    assert any("--attested" in step.run for step in found["publish"].steps)


@by_name
def test_every_command_is_a_task_with_these_options(file: Path) -> None:
    tasks = _tasks()
    for job in jobs(file):
        for step in job.steps:
            for command in re.findall(r"\.venv/bin/invoke ([^\n)]*)", step.run):
                name, *words = shlex.split(re.sub(r"\$\{REGISTRY:\+(.*)\}", r"\1", command))
                assert name in tasks, f"{job.name}: invoke {name}"
                options = {word for word in words if word.startswith("--")}
                assert options <= _options(name), f"{job.name}: invoke {command}"


def _tasks() -> set[str]:
    done = run("invoke", "--list", "--list-format", "flat")
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^  (\S+)", done.stdout, re.MULTILINE))


def _options(task: str) -> set[str]:
    done = run("invoke", "--help", task)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"--[a-z][a-z-]*", done.stdout))
