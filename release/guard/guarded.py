"""A runner that serves under guard: counted before, watched while, waited for after.

The timeline is evidence: it joins the step's result as ``memory.jsonl``, and lies beside the
log when the step fails. So does what the driver said in the kernel's log, where it said something.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.formats.progress import Update
from recipes.formats.serving.budget import Floors
from recipes.formats.step import TREE_FILE
from release import budget
from release.digest import Json
from release.errors import GraftsmithError, MachineError
from release.guard.kernel_log import KMSG, open_kernel_log
from release.guard.nvml import open_gpus
from release.guard.reading import Phase, pool
from release.guard.watch import Watch
from release.realize import OUT, Job, Report, Runner

TIMELINE_FILE = "memory.jsonl"
KERNEL_FILE = "kernel.jsonl"
"""What the driver said in the kernel's log while a server ran; a file only when it said something."""

STARTING = "starting the server"
"""What the smoke step says of itself while the server loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """Runs a step that serves by ``inner``, and ends it before memory does."""

    inner: Runner
    floors: Floors
    kernel_log: Path = KMSG

    def run(self, job: Job) -> Report:
        """Run the step. Raises MachineError when it does not fit, was stopped, or kept memory."""
        gpus = open_gpus()
        self._require(job, pool(gpus))
        watch = Watch(self.floors, gpus, open_kernel_log(self.kernel_log))

        def progress(update: Update) -> None:
            watch.phase = Phase.STARTING if update.at == STARTING else Phase.SERVING
            job.progress(update)

        kept = job.log.with_suffix(f".{TIMELINE_FILE}")
        try:
            with watch:
                report = self.inner.run(replace(job, progress=progress, started=watch.follow))
        except GraftsmithError as error:
            kept.write_text(watch.text())
            if watch.heard:
                job.log.with_suffix(f".{KERNEL_FILE}").write_text(watch.kernel_text())
            if watch.stopped is None:
                raise
            raise MachineError(
                f"{job.step.name}: the memory guard stopped the server: {watch.stopped}",
                why="A server that takes the last of the memory takes the machine with it.",
                hint=f"lower kv_cache_bytes or max_num_seqs, or end what else runs; the timeline is {kept}",
            ) from error
        self._add(job, watch)
        _require_returned(job, watch)
        return report

    def _require(self, job: Job, memory: int) -> None:
        serve: Json = job.step.params["serve"]
        assert isinstance(serve, dict), "the recipe was parsed"
        tree = job.inputs["tree"].folder
        try:
            need = budget.memory_of_tree(tree, serve, self.floors, memory)
        except ValueError as error:
            raise MachineError(f"{job.step.name}: its memory cannot be counted: {error}") from error
        budget.require(job.step.name, need)

    def _add(self, job: Job, watch: Watch) -> None:
        """Add the timeline to the result."""
        out = job.scratch / OUT
        (out / TIMELINE_FILE).write_text(watch.text())
        tree = json.loads((out / TREE_FILE).read_text())
        tree["files"][TIMELINE_FILE] = None
        if watch.heard:
            (out / KERNEL_FILE).write_text(watch.kernel_text())
            tree["files"][KERNEL_FILE] = None
        (out / TREE_FILE).write_text(json.dumps(tree, indent=1, sort_keys=True) + "\n")


def _require_returned(job: Job, watch: Watch) -> None:
    if watch.missing:
        raise MachineError(
            f"{job.step.name}: {watch.missing / 1e9:.1f} GB of memory did not come back after the stop",
            why="On unified memory a driver may keep what a server had; the next one would be short of it.",
            hint="end what holds it, or start the machine again; then type the same command",
        )
