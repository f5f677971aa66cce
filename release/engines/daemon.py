"""The Docker engine that answers here: what it is, what it can do, and its errors in words.

The owner's engine is used as it stands: nothing of its configuration is changed.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import docker
import requests
from docker import errors as docker_errors

from release.errors import BuildError, GraftsmithError, MachineError, NetworkError

OLDEST_API = (1, 41)
"""Docker 20.10: the first whose BuildKit and init are what this project relies on."""
BUSY_S = 600
"""Seconds that an engine may be silent: on a busy disk it takes minutes to lay out 10 GB of image."""
NO_GPU = ("could not select device driver", "nvidia-container-cli", "unresolvable CDI devices")
GPU_HINT = (
    "install nvidia-container-toolkit, run `sudo nvidia-ctk runtime configure --runtime=docker`, "
    "restart Docker, then: docker run --rm --gpus all ubuntu nvidia-smi"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """An engine that answered."""

    client: docker.DockerClient
    version: str
    containerd_store: bool
    seccomp: bool

    @property
    def name(self) -> str:
        """The engine as a record calls it."""
        return f"docker {self.version}"

    def image(self, *digests: str) -> "Found | None":
        """Return what the engine has under one of ``digests``.

        The containerd store knows an image by its manifest, the older one by its configuration.
        """
        for digest in digests:
            with contextlib.suppress(docker_errors.ImageNotFound):
                found = self.client.api.inspect_image(digest)  # type: ignore[no-untyped-call]
                return Found(id=str(found["Id"]), platform=f"{found['Os']}/{found['Architecture']}")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image that the engine has."""

    id: str
    platform: str


def connect() -> Daemon:
    """Return the engine of this machine.

    Raises MachineError when none answers, when it is another machine's, or when it is too old.
    """
    try:
        client = docker.from_env()
        version, info = client.version(), client.info()
    except (docker_errors.DockerException, requests.exceptions.RequestException) as error:
        raise MachineError(
            f"no Docker engine answers: {_reason(error)}",
            why="Steps run in containers with --engine docker, and images are built by Docker.",
            hint="start Docker (sudo systemctl start docker), join its group, or use --engine local",
        ) from error
    if not client.api.base_url.startswith("http+docker"):
        raise MachineError(
            f"the Docker engine at {client.api.base_url} is on another machine",
            why="A step's inputs are mounted from this machine's store.",
            hint="unset DOCKER_HOST, or run the release over there",
        )
    require_version(str(version.get("ApiVersion", "0")), str(version.get("Version", "")))
    client.api.timeout = BUSY_S
    return Daemon(
        client=client,
        version=str(version["Version"]),
        containerd_store="io.containerd.snapshotter.v1" in str(info.get("DriverStatus")),
        seccomp=any("seccomp" in str(option) for option in info.get("SecurityOptions") or ()),
    )


def require_version(api: str, version: str) -> None:
    """Refuse an engine that speaks an older API than this project needs. Raises MachineError."""
    if tuple(int(part) for part in api.split(".")) < OLDEST_API:
        raise MachineError(
            f"Docker {version} is too old: it speaks API {api}",
            why="Images need BuildKit, and containers an init: Docker 20.10 and newer have both.",
            hint="install a newer Docker, or use --engine local",
        )


@contextlib.contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turn what the engine says into an error that says what to do; ``what`` was being done."""
    try:
        yield
    except docker_errors.APIError as error:
        raise explained(what, str(error.explanation or error)) from error
    except (docker_errors.DockerException, requests.exceptions.RequestException) as error:
        raise MachineError(
            f"{what}: the Docker engine stopped answering: {_reason(error)}",
            hint="see whether Docker still runs, then run the same command again",
        ) from error


def explained(what: str, said: str) -> GraftsmithError:
    """Return the error for what an engine, a builder or a registry said while doing ``what``."""
    low = said.lower()

    def has(*texts: str) -> bool:
        return any(text in low for text in texts)

    if any(text.lower() in low for text in NO_GPU):
        return MachineError(
            f"{what}: the engine has no GPU to give: {said.strip()}",
            why="The image asks for one, and without the NVIDIA runtime no container sees it.",
            hint=GPU_HINT,
        )
    if has("no space left on device"):
        return MachineError(
            f"{what}: no space left on the disk that Docker keeps its images on",
            why="What was finished before stays and stays usable.",
            hint="see `docker system df`, free some space, and run the same command again",
        )
    if has("exec format error"):
        return MachineError(
            f"{what}: this machine cannot run programs of that architecture",
            hint="build on such a machine, or let it emulate: apt-get install qemu-user-static",
        )
    if has("hash mismatch", "do not match the hashes"):
        return BuildError(
            f"{what}: a package is not what the lock says:\n{said.strip()[-1500:]}",
            why="Someone changed it after it was locked, or the download was cut.",
            hint="run it again; if it stays, compare the file with its index before you lock it anew",
        )
    if has("manifest unknown", "not found: not found", ": not found"):
        return BuildError(
            f"{what}: a digest is gone from its registry:\n{said.strip()[-1500:]}",
            why="Registries drop what no tag names any more.",
            hint="see what the tag means now: invoke lock --images",
        )
    if has("connection refused", "no such host", "i/o timeout", "tls handshake", "temporary failure"):
        return NetworkError(
            f"{what}: a server does not answer:\n{said.strip()[-1500:]}",
            hint="check the network, then run the same command again",
        )
    return BuildError(f"{what}: {said.strip()[-3000:]}")


def _reason(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = cast(BaseException, error.__cause__ or error.__context__)
    return str(error) or type(error).__name__
