"""A workflow file, read as GitHub reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
FOLDER = PROJECT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: an action that is used, or a script that is run; never both."""

    job: str
    name: str
    uses: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, with its permissions as written."""

    name: str
    runs_on: tuple[str, ...]
    permissions: Mapping[str, str]
    environment: str
    steps: tuple[Step, ...]


def jobs(file: Path) -> Iterator[Job]:
    """Yield the jobs of a workflow."""
    for name, job in load(file)["jobs"].items():
        on = job["runs-on"]
        steps = (
            Step(job=name, name=step.get("name", ""), uses=step.get("uses", ""), run=step.get("run", ""))
            for step in job["steps"]
        )
        yield Job(
            name=name,
            runs_on=tuple(on) if isinstance(on, list) else (on,),
            permissions=job.get("permissions", {}),
            environment=job.get("environment", ""),
            steps=tuple(steps),
        )


def load(file: Path) -> Any:
    """Return a workflow as plain data. YAML 1.1 reads the key ``on`` as true."""
    return yaml.safe_load(file.read_text())
