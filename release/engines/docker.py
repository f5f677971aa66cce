"""The Docker engine: a step in a container of its image, locked down, that ends with the release.

Same steps, same keys for promised bytes, same ``in/``, ``out/`` and ``state/`` as on the
local engine; what isolation was had is taken from the engine's own answer and recorded.
"""

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from docker import APIClient
from docker.errors import DockerException
from docker.utils.socket import frames_iter

from release.closure import Code
from release.engines import container as containers
from release.engines import daemon as daemons
from release.engines import outcome, reaper
from release.engines.container import Folders
from release.engines.daemon import Daemon
from release.errors import BuildError, GraftsmithError, MachineError, StoppedError
from release.images import Image, this_platform
from release.realize import Job, Report
from release.store import Store, durable
from release.store import built as builts
from release.store.built import LOCKED, BuiltImage

WATCH = Path(__file__).with_name("watch.py")
STDOUT = 1
GRACE_S = 10


connect_once = functools.cache(daemons.connect)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerEngine:
    """Runs the steps of ``images`` in containers on this machine."""

    store: Store
    images: Mapping[str, Image]
    code_of: Callable[[str], Code]
    daemon: Callable[[], Daemon] = connect_once

    def run(self, job: Job) -> Report:
        """Run one step to its end. Raises the error class that its exit code names."""
        daemon = self.daemon()
        image = self.images[job.step.image or ""]
        built = require_built(image, self.store)
        loaded = require_loaded(image, built, daemon)
        with daemons.in_words(f"{job.step.name}: removing what a killed release left behind"):
            reaper.reap(daemon.client)
        folders = self._folders(job, built)
        with _created(daemon, image, loaded, job, folders) as container:
            isolation = containers.isolation(
                daemon.client.api.inspect_container(container), seccomp=daemon.seccomp
            )
            outcome.demand(isolation, "give the engine seccomp back, or see docs/images.md")
            _follow(daemon, container, job)
        durable.remove(folders.temporary)
        if built.base != LOCKED:
            isolation["base"] = built.base
        return Report(engine=daemon.name, isolation=isolation)

    def _folders(self, job: Job, built: BuiltImage) -> Folders:
        """Lay the step's folders out, and make those that it writes to."""
        scratch = job.scratch
        durable.remove(scratch / "tmp")
        self.code_of(job.step.does).write(scratch / "code")
        folders = Folders(
            inputs={name: item.folder for name, item in job.inputs.items()},
            code=scratch / "code",
            params=scratch / "params.json",
            watch=WATCH,
            passwd=scratch / "passwd",
            group=scratch / "group",
            out=scratch / "out",
            state=scratch / "state",
            temporary=scratch / "tmp",
            cache=self.store.root / "cache" / "containers" / _cache_name(built),
        )
        containers.make(folders, containers.owner(self.store.root))
        return folders


def require_ready(image: Image, store: Store) -> None:
    """Refuse an image that is not built or not loaded, and a machine without an engine."""
    daemon = connect_once()
    require_loaded(image, require_built(image, store), daemon)


def require_built(image: Image, store: Store) -> BuiltImage:
    """Return the record of the built image. Raises BuildError when it was not built as it is now."""
    built = builts.folder(store.root).get(image.build_hash(this_platform()))
    if built is None:
        raise BuildError(
            f"image {image.name} ({image.variant}) is not built as it is now", hint=_how_to_build(image)
        )
    return built


def require_loaded(image: Image, built: BuiltImage, daemon: Daemon) -> str:
    """Return the engine's id of a built image.

    Raises BuildError when the engine lost it, and MachineError when it is for another architecture.
    """
    with daemons.in_words(f"looking for image {built.tag}"):
        found = daemon.image(built.digest, built.config)
    if found is None:
        raise BuildError(
            f"the Docker engine has no image {built.tag} with digest {built.digest}",
            hint=_how_to_build(image),
        )
    if found.platform != this_platform():
        raise MachineError(
            f"image {built.tag} is for {found.platform}; this machine is {this_platform()}",
            hint=f"build it here: {_how_to_build(image)}",
        )
    return found.id


def _how_to_build(image: Image) -> str:
    return f"type: invoke build-image --name {image.name} --variant {image.variant}"


@contextlib.contextmanager
def _created(daemon: Daemon, image: Image, loaded: str, job: Job, folders: Folders) -> Iterator[str]:
    """Create the step's container, give its id, and remove it at the end whatever happens."""
    api, held = daemon.client.api, image.required_container()
    user = containers.owner(folders.out)
    what = f"{job.step.name}: creating its container"
    with daemons.in_words(what):
        created = api.create_container(
            loaded,
            containers.command(),
            user=f"{user.uid}:{user.gid}",
            stdin_open=True,
            environment=containers.environment(user, {**image.env, **held.env}),
            working_dir="/tmp",  # noqa: S108 (the container's own)
            labels=reaper.labels(job.step.name, job.scratch.name),
            network_disabled=False,  # --network none keeps loopback
            host_config=containers.host_config(api, folders, held.limits, gpu=held.gpu),
        )
    try:
        yield str(created["Id"])
    finally:
        with contextlib.suppress(GraftsmithError), daemons.in_words(what):
            api.remove_container(created["Id"], force=True, v=True)


def _follow(daemon: Daemon, container: str, job: Job) -> None:
    """Start the container, pass on what it says, and raise what its end means."""
    api = daemon.client.api
    with daemons.in_words(f"{job.step.name}: running its container"), _attached(api, container) as wire:
        api.start(container)
        if pid := int(api.inspect_container(container)["State"]["Pid"]):  # 0: it has ended already
            job.started(pid)
        with _ended_after(api, container, job.step.timeout_s) as late, job.log.open("wb") as log:
            try:
                message = _listen(wire, log, job)
                code = int(api.wait(container)["StatusCode"])
            except KeyboardInterrupt as error:
                with contextlib.suppress(DockerException):
                    api.stop(container, timeout=GRACE_S)
                raise StoppedError(
                    f"{job.step.name} was stopped", hint="the same command continues where this one was"
                ) from error
        state = api.inspect_container(container)["State"]
    if late.is_set():
        raise outcome.timed_out(job)
    if state.get("OOMKilled"):
        raise out_of_memory(job)
    if code != 0:
        raise outcome.failure(job, code, message)


@contextlib.contextmanager
def _attached(api: APIClient, container: str) -> Iterator[socket.socket]:
    """Give the connection that carries the step's output, and holds its standard input open."""
    file = api.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    wire: socket.socket = getattr(file, "_sock", file)
    wire.settimeout(None)  # a step may say nothing for an hour
    with contextlib.closing(file), contextlib.closing(wire):  # a socket is open until its file is closed too
        yield wire


@contextlib.contextmanager
def _ended_after(api: APIClient, container: str, seconds: int) -> Iterator[threading.Event]:
    """Kill the container when the block takes longer; the event says that it did."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(DockerException):
            api.kill(container)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _listen(wire: socket.socket, log: BinaryIO, job: Job) -> str:
    """Write what the step prints to its log and pass its progress on; return its error text."""
    message, rest = "", b""
    for stream, data in frames_iter(wire, tty=False):  # type: ignore[no-untyped-call]
        if stream != STDOUT:
            log.write(data)
            log.flush()
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            message = outcome.hear(line.decode(errors="replace"), job, message)
    return message


def out_of_memory(job: Job) -> MachineError:
    """Return the error of a step that the kernel ended for want of memory."""
    return MachineError(
        f"{job.step.name} ran out of memory: the kernel ended it at the container's limit",
        why=f"This is no failure of the step; the end of its log:\n{outcome.tail(job)}",
        hint="raise limits.memory in the image's image.toml, or run it on a machine with more",
    )


def _cache_name(built: BuiltImage) -> str:
    """Return the cache folder's name: what was compiled for one image and GPU is no other's."""
    gpu = Path("/proc/driver/nvidia/gpus")
    names = sorted(os.listdir(gpu)) if gpu.is_dir() else []  # noqa: PTH208
    return f"{built.cache_name}-{len(names) or 'no'}-gpu"
