"""The README is true: its commands are what CI runs, its tasks and exit codes exist."""

import inspect
import re
from pathlib import Path

import tasks
from release import errors

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text()


def test_ci_runs_the_readmes_commands() -> None:
    ci = (PROJECT / ".ci/run").read_text()
    first, second = re.findall(r"```console\n(.+)\n```", README)
    assert first.split(" && ")[0] in ci
    assert first.split(" && ")[1] in ci
    assert second in ci


def test_every_task_of_the_readme_exists() -> None:
    named = set(re.findall(r"`invoke ([a-z][a-z.-]*)", README))
    assert named <= set(tasks.namespace.task_names)


def test_every_task_shows_an_example_of_itself() -> None:
    for name in tasks.namespace.task_names:
        assert f"Example: invoke {name}" in (tasks.namespace[name].__doc__ or "")


def test_every_exit_code_is_told() -> None:
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    codes = {c.code for c in classes if issubclass(c, errors.GraftsmithError)} - {1}
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
