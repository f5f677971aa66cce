"""The engine of the tests: the one that answers, or one of our own.

    python -m tests.docker.engine start     prints what to export, and stays until Ctrl-C

With ``GRAFTSMITH_TEST_ENGINE=start`` an engine is started where none answers: Debian
trixie's packages, unpacked into GRAFTSMITH_TEST_ENGINE_DIR, with the containerd image store
on and a data folder of its own. It needs root and adds rules to the machine's NAT table
while it runs, which is why somebody has to ask for it.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker import debian

ASK, WHERE = "GRAFTSMITH_TEST_ENGINE", "GRAFTSMITH_TEST_ENGINE_DIR"
STABLE = "trixie"
ENGINE = ("docker.io", "docker-cli", "docker-buildx", "containerd", "tini")
"""Go programs that run on an older C library as well."""
RUNC = ("runc",)
IPTABLES = (
    "iptables",
    "libip4tc2",
    "libip6tc2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
)
PROGRAMS = (
    "usr/sbin/dockerd",
    "usr/sbin/docker-proxy",
    "usr/bin/docker",
    "usr/bin/docker-init",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
)
PATIENCE_S = 30


class NoEngineError(Exception):
    """There is no engine for the tests; the message says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A reachable engine: what a shell must have exported to use it, and whose it is."""

    environment: Mapping[str, str]
    own: bool
    root: Path = field(default_factory=lambda: folder())


def folder() -> Path:
    """Return where packages, data and stand-in bases lie between runs."""
    return Path(os.environ.get(WHERE) or Path(tempfile.gettempdir()) / f"graftsmith-engine-{os.getuid()}")


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """Give an engine that answers. Raises NoEngineError where there is none and none can be started."""
    if _answers({}):
        yield Engine({}, own=False)
        return
    if os.environ.get(ASK) != "start":
        raise NoEngineError(f"no Docker engine answers; {ASK}=start starts one from Debian's packages")
    if os.getuid() != 0:
        raise NoEngineError("no Docker engine answers, and starting one needs root")
    if said := debian.missing():
        raise NoEngineError(f"no Docker engine answers, and none can be started: {said}")
    root = folder()
    try:
        path = _programs(root)
    except OSError as error:
        raise NoEngineError(f"the packages of an engine cannot be had: {error}") from error
    with _started(root, path) as environment:
        yield Engine(environment, own=True)


def _answers(environment: Mapping[str, str]) -> bool:
    docker = shutil.which("docker", path=environment.get("PATH"))
    if docker is None:
        return False
    command = [docker, "version", "--format", "{{.Server.Version}}"]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)
    return done.returncode == 0


def _programs(root: Path) -> dict[str, str]:
    """Unpack an engine; return the environment that finds its programs."""
    engine = debian.unpack(root / "packages", STABLE, ENGINE)
    bin_folder, config = root / "bin", root / "config"
    (config / "cli-plugins").mkdir(parents=True, exist_ok=True)
    bin_folder.mkdir(exist_ok=True)
    programs = {Path(name).name: engine / name for name in PROGRAMS}
    here = debian.release()
    if shutil.which("runc") is None:
        programs["runc"] = debian.unpack(root / "runc", here, RUNC) / "usr/sbin/runc"
    environment = {}
    if shutil.which("iptables") is None:
        tables = debian.unpack(root / "iptables", here, IPTABLES)
        programs |= dict.fromkeys(("iptables", "ip6tables"), tables / "usr/sbin/xtables-nft-multi")
        libraries = next((tables / "usr/lib").glob("*-linux-gnu*"))
        environment = {"LD_LIBRARY_PATH": str(libraries), "XTABLES_LIBDIR": str(libraries / "xtables")}
    for name, target in programs.items():
        _link(bin_folder / name, target)
    _link(config / "cli-plugins/docker-buildx", engine / "usr/libexec/docker/cli-plugins/docker-buildx")
    path = f"{bin_folder}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return {**environment, "PATH": path, "DOCKER_CONFIG": str(config)}


@contextlib.contextmanager
def _started(root: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run dockerd until the block ends; it dies with this process."""
    with tempfile.TemporaryDirectory(prefix="gse-") as run:  # a socket's path is short
        socket = f"unix://{run}/docker.sock"
        log, config = root / "dockerd.log", Path(run) / "daemon.json"
        config.write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
        command = [
            *("setpriv", "--pdeathsig", "TERM", "dockerd", "--host", socket, "--pidfile", f"{run}/pid"),
            *("--data-root", str(root / "data"), "--exec-root", f"{run}/exec"),
            *("--insecure-registry", "127.0.0.1/32", "--config-file", str(config)),
        ]
        with log.open("wb") as out:
            daemon = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True
            )
        user = {name: environment[name] for name in ("PATH", "DOCKER_CONFIG")} | {"DOCKER_HOST": socket}
        try:
            _wait(daemon, user, log)
            yield user
        finally:
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(PATIENCE_S)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()


def _wait(daemon: "subprocess.Popen[bytes]", environment: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _answers(environment):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise NoEngineError(f"dockerd did not start; the end of {log}:\n{log.read_text()[-1500:]}")
        time.sleep(0.2)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def main() -> int:
    """Start an engine, print what to export, and stay until the user ends it."""
    try:
        with running() as engine:
            for name, value in engine.environment.items():
                sys.stdout.write(f"export {name}={value!r}\n")
            sys.stdout.flush()
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except NoEngineError as error:
        sys.stderr.write(f"{error}\n")
        return 10
    return 0


if __name__ == "__main__":
    sys.exit(main())
