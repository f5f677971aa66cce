"""Realize a plan: run what has no result yet, commit it, go on.

The one executor. Runners are handed to it; it knows neither containers nor Hubs.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from recipes.formats.progress import Update
from release.derivation import Derivation, Site, Step, derive
from release.digest import Tree
from release.errors import BuildError
from release.hoststep import Input
from release.plan import Graph, Offer
from release.store import Realization, Store, durable

OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a step: where it works, what it reads, whom it tells.

    ``scratch`` is empty but for ``state/`` and ``out/``; ``lock_fd`` is inherited by the
    process that writes there; ``log`` collects what it prints. ``started`` is told the number
    of the process whose end is the step's, in this process's own namespace.
    """

    step: Step
    inputs: Mapping[str, Input]
    scratch: Path
    log: Path
    lock_fd: int
    progress: Callable[[Update], None]
    started: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a job ran: which engine, and what isolation it enforced."""

    engine: str
    isolation: Mapping[str, str] = field(default_factory=dict)


class Runner(Protocol):
    """Runs a job to its end; raises a GraftsmithError when the step fails."""

    def run(self, job: Job) -> Report:
        """Fill ``job.scratch/out`` with the result and its ``tree.json``."""
        ...


class Remote(Protocol):
    """Has results of steps that were built elsewhere; what it gives can be believed.

    It raises only what stops a release, such as a full disk.
    """

    def offer(self, step: Step, derivation: Derivation) -> Offer | None:
        """Return what there is for the derivation of a step."""
        ...

    def pull(self, step: Step, derivation: Derivation, progress: Callable[[Update], None]) -> int | None:
        """Put a result into the store; return the bytes that came, None when it did not come."""
        ...

    def push(self, key: str, progress: Callable[[Update], None]) -> None:
        """Send a result of the store, where that is wanted."""
        ...


class Listener(Protocol):
    """Is told what happens; prints it, or not."""

    def started(self, step: Step, key: str) -> None:
        """Hear that a step begins."""
        ...

    def waiting(self, step: Step, key: str) -> None:
        """Hear that another release builds this key; its result will be used."""
        ...

    def progress(self, step: Step, update: Update) -> None:
        """Hear how far a step is."""
        ...

    def finished(self, step: Step, done: "Done") -> None:
        """Hear that a step's tree is in the store."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished step: its key, its tree, and whether it was built now.

    ``pulled`` counts the bytes that came from a remote cache, None when it was not asked.
    """

    key: str
    tree: str
    size: int
    seconds: float
    built: bool
    isolation: Mapping[str, str]
    pulled: int | None = None

    @property
    def how(self) -> str:
        """One word for where the result comes from."""
        if self.pulled is not None:
            return "cached"
        return "built" if self.built else "hit"


Check = Callable[[Path], None]
"""Looks at a finished step's folder; raises when the release must not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Everything that running a graph needs."""

    store: Store
    site: Site
    line: str
    runner_of: Callable[[Step], Runner]
    checks: Mapping[str, Check]
    listener: Listener
    remote: Remote | None = None

    def realize(self, graph: Graph) -> dict[str, Done]:
        """Realize each step of ``graph`` in order; return them by name.

        Sources must be in the store. A check that fails stops the release there; what
        was finished stays.
        """
        digests = {source.name: source.digest for source in graph.sources}
        finished: dict[str, Done] = {}
        for step in graph.steps:
            inputs = {name: digests[made_by] for name, made_by in step.inputs.items()}
            done = self._realize_step(step, inputs)
            if self.remote is not None:  # the lock of the key is free again: an upload keeps nobody waiting
                self.remote.push(done.key, functools.partial(self.listener.progress, step))
            digests[step.name] = done.tree
            finished[step.name] = done
            self.listener.finished(step, done)
            if step.check is not None:
                self.checks[step.check](self.store.folder(done.tree, step.name))
        return finished

    @contextmanager
    def again(self, step: Step, derivation: Derivation) -> Iterator[Path]:
        """Run a finished step once more, beside its result; yield the ``out/`` of this run.

        The realization is not touched. The run's folder is removed when the block ends, and
        kept for a look when it raises.
        """
        name = f"again-{derivation.key}"
        scratch = self.store.scratch(name)
        with self.store.lock(name, lambda: self.listener.waiting(step, derivation.key)) as lock:
            durable.remove(scratch)
            self.listener.started(step, derivation.key)
            job = self._prepare(step, derivation, scratch, scratch / "log.txt", lock.fd)
            self.runner_of(step).run(job)
            yield scratch / OUT
            durable.remove(scratch)

    def inputs(self, step: Step, derivation: Derivation) -> dict[str, Input]:
        """Return the trees that a run of ``step`` reads."""
        return {name: self._input(digest, step.inputs[name]) for name, digest in derivation.inputs.items()}

    def result(self, key: str, name: str) -> Input:
        """Return the finished tree of ``key``, which this release goes on to use.

        Raises BuildError when it is not whole.
        """
        realization = self.store.use(key)
        if realization is None:
            raise BuildError(
                f"the result {key[:8]} of {name} is not whole in the store",
                hint=f"build it first: invoke build --step {name}",
            )
        return self._input(realization.tree, name)

    def _realize_step(self, step: Step, inputs: Mapping[str, str]) -> Done:
        derivation = derive(step, inputs, self.site)
        found = self._found(step, derivation.key)
        if found is not None:
            return found
        with self.store.lock(derivation.key, lambda: self.listener.waiting(step, derivation.key)) as lock:
            found = self._found(step, derivation.key)
            if found is not None:
                return found
            with durable.full_disk_is_clear(self.store.root):
                return self._pulled(step, derivation) or self._build(step, derivation, lock.fd)

    def _pulled(self, step: Step, derivation: Derivation) -> Done | None:
        if self.remote is None or self.remote.offer(step, derivation) is None:
            return None
        self.listener.started(step, derivation.key)
        began = time.monotonic()
        count = self.remote.pull(step, derivation, functools.partial(self.listener.progress, step))
        found = self._found(step, derivation.key) if count is not None else None
        seconds = round(time.monotonic() - began, 3)
        return replace(found, pulled=count, seconds=seconds) if found else None

    def _found(self, step: Step, key: str) -> Done | None:
        with self.store.gate.shared():
            realization = self.store.use(key)
            if realization is None:
                return None
            self.store.realizations.set_last(self.line, step.name, key)
            return self._done(realization, built=False)

    def _build(self, step: Step, derivation: Derivation, lock_fd: int) -> Done:
        self.listener.started(step, derivation.key)
        began = time.monotonic()
        with self.store.gate.shared():
            log = self.store.logs.start(self.line, step.name, derivation.key)
        job = self._prepare(step, derivation, self.store.scratch(derivation.key), log, lock_fd)
        report = self.runner_of(step).run(job)
        with self.store.gate.shared():
            return self._commit(step, derivation, job, report, began)

    def _commit(self, step: Step, derivation: Derivation, job: Job, report: Report, began: float) -> Done:
        tree = self.store.commit(job.scratch / OUT, derivation.inputs)
        realization = Realization(
            key=derivation.key,
            name=step.name,
            tree=tree,
            derivation=derivation.to_json(),
            seconds=round(time.monotonic() - began, 3),
            engine=report.engine,
            isolation=report.isolation,
        )
        self.store.record(realization, self.line)
        durable.remove(job.scratch)
        return self._done(realization, built=True)

    def _prepare(self, step: Step, derivation: Derivation, scratch: Path, log: Path, lock_fd: int) -> Job:
        for name in ("in", OUT, "code"):
            durable.remove(scratch / name)
        for name in ("in", OUT, "state"):
            (scratch / name).mkdir(parents=True, exist_ok=True)
        (scratch / "params.json").write_text(json.dumps(derivation.params, sort_keys=True))
        return Job(
            step=step,
            inputs=self.inputs(step, derivation),
            scratch=scratch,
            log=log,
            lock_fd=lock_fd,
            progress=lambda update: self.listener.progress(step, update),
        )

    def _input(self, digest: str, name: str) -> Input:
        tree = self._tree(digest, name)
        return Input(self.store.folder(digest, name), tree)

    def _tree(self, digest: str, name: str) -> Tree:
        tree = self.store.use_tree(digest)
        if tree is None:
            raise BuildError(
                f"tree {digest[:8]} of {name} is not whole in the store",
                hint="run the same command again: what is missing is built or brought in",
            )
        return tree

    def _done(self, realization: Realization, *, built: bool) -> Done:
        tree = self._tree(realization.tree, realization.name)
        return Done(
            key=realization.key,
            tree=realization.tree,
            size=tree.size,
            seconds=realization.seconds,
            built=built,
            isolation=realization.isolation,
        )
