"""``docker buildx build``: what the SDK cannot drive, and nothing else is done by it."""

import contextlib
import json
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from release.engines.daemon import Daemon, explained
from release.errors import MachineError
from release.imaging.recipe import BUILDKIT, ENGINES_BUILDER, OWN_BUILDER, Build

KEPT = 500
"""Lines of a failed build in which its reason is looked for; the end of them is shown."""


def require() -> str:
    """Return the version of buildx. Raises MachineError when there is none."""
    docker = shutil.which("docker")
    done = docker and _run([docker, "buildx", "version"])
    if not done or done.returncode != 0:
        raise MachineError(
            f"docker buildx is not here{'' if docker else ': there is no docker command'}",
            why="BuildKit is what sets every time in an image to the fixed one; only buildx speaks to it.",
            hint="install it: apt-get install docker-buildx-plugin (Debian: docker-cli docker-buildx)",
        )
    return done.stdout.split()[1]


def builder(daemon: Daemon, tell: Callable[[str], None]) -> str:
    """Return the builder to use, making one of our own where the engine's cannot do it.

    An engine without the containerd image store takes rewrite-timestamp and ignores it.
    """
    if daemon.containerd_store:
        return ENGINES_BUILDER
    have = _run(["docker", "buildx", "inspect", OWN_BUILDER])
    if have.returncode != 0:
        tell(f"making a builder from {BUILDKIT.partition('@')[0]}")
        options = ["--driver", "docker-container", "--driver-opt", f"image={BUILDKIT}"]
        made = _run(["docker", "buildx", "create", "--name", OWN_BUILDER, *options, "--bootstrap"])
        if made.returncode != 0:
            _run(["docker", "buildx", "rm", OWN_BUILDER])  # it is listed although it does not run
            raise MachineError(
                f"no builder for reproducible images: {made.stderr.strip()[-800:]}",
                why="This engine keeps images in its older store, whose BuildKit ignores rewrite-timestamp, "
                "and a builder of its own could not be had. Docker's configuration is not ours to change.",
                hint=f"let Docker pull {BUILDKIT.partition('@')[0]}, then run the same command again",
            )
    return OWN_BUILDER


def build(
    wanted: Build,
    context: Path,
    archive: Path,
    *,
    with_builder: str,
    cache: bool,
    log: Path,
    tell: Callable[[str], None],
) -> str:
    """Build an image into an OCI archive; return its digest. Raises what ``explained`` returns."""
    told = archive.with_suffix(".json")
    dockerfile = wanted.image.required_container().dockerfile.name
    command = [
        *("docker", "buildx", "build", "--builder", with_builder, "--file", str(context / dockerfile)),
        *wanted.options(),
        *("--metadata-file", str(told), "--output", wanted.output(archive)),
        *(() if cache else ("--no-cache",)),
        str(context),
    ]
    said: deque[str] = deque(maxlen=KEPT)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            file.write(line)
            said.append(line)
            if "] " in line and line.startswith("#"):
                tell(line.strip()[:100])
    if process.returncode != 0:
        raise explained(f"building {wanted.name} (log: {log})", "".join(said))
    with contextlib.suppress(FileNotFoundError):
        digest = str(json.loads(told.read_text()).get("containerimage.digest", ""))
        told.unlink()
        return digest
    return ""


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
