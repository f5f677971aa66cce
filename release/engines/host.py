"""The host engine: runs a host step, a pure function from input trees to files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.step import Workdir
from release.hoststep import HostStep
from release.realize import Job, Report


@dataclass(frozen=True, slots=True)
class HostEngine:
    """Runs host functions by name."""

    functions: Mapping[str, HostStep]

    def run(self, job: Job) -> Report:
        """Call the step's function and write its files in the form of a step's result."""
        params = json.loads((job.scratch / "params.json").read_text())
        result = self.functions[job.step.does].function(job.inputs, params)
        work = Workdir(job.scratch)
        for path, data in result.new.items():
            work.new(path).write_bytes(data)
        for path, taken in result.taken.items():
            work.take(taken.input, taken.path, path)
        work.finish()
        return Report(engine="host")
