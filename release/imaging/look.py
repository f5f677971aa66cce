"""Looks into an image through the engine: its probe, and its files one by one."""

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, cast

from docker.errors import NotFound
from docker.types import Mount

from release.digest import CHUNK
from release.engines.daemon import Daemon, in_words
from release.errors import BuildError
from release.imaging import kernels
from release.imaging.checks import Probe
from release.imaging.kernels import Kernels
from release.imaging.recipe import Build

PROBE = Path(__file__).with_name("probe.py")
INSIDE = "/probe.py"
PATIENCE_S = 900


def probe(daemon: Daemon, image: str, build: Build) -> Probe:
    """Run the probe in the image as a step would: no network, read-only root, its own user."""
    api, held = daemon.client.api, build.image.required_container()
    with in_words(f"looking into {build.name}"):
        config = api.create_host_config(
            network_mode="none",
            read_only=True,
            init=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=held.limits.memory,
            tmpfs={"/tmp": "size=512m"},  # noqa: S108 (the container's own)
            mounts=[Mount(INSIDE, str(PROBE), type="bind", read_only=True)],
        )
        env = {**build.image.env, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "XDG_CACHE_HOME": "/tmp"}  # noqa: S108
        command = ["/opt/env/bin/python", "-I", INSIDE, *held.imports]
        made = str(api.create_container(image, command, environment=env, host_config=config)["Id"])
        try:
            api.start(made)
            code = int(api.wait(made, timeout=PATIENCE_S)["StatusCode"])
            said, complained = api.logs(made, stderr=False), api.logs(made, stdout=False)
        finally:
            api.remove_container(made, force=True, v=True)
    if code != 0:
        raise BuildError(f"{build.name}: the probe ended with {code}:\n{complained.decode()[-1500:]}")
    return Probe(**json.loads(said))


def compiled(daemon: Daemon, image: str, build: Build) -> dict[str, Kernels | None]:
    """Return the kernels of each library that image.toml names; nothing of the image is run."""
    wanted = build.image.required_container().compiled
    if wanted is None:
        return {}
    with in_words(f"looking for kernels in {build.name}"), _at_rest(daemon, image, build.platform) as made:
        packages = _site_packages(daemon, made)
        return {
            library: _kernels(daemon, made, f"{packages}/{library}", symbol)
            for library, symbol in wanted.libraries.items()
        }


def _site_packages(daemon: Daemon, container: str) -> str:
    """Return where packages lie: the environment says which Python made it."""
    with tempfile.TemporaryFile() as file:
        if not _copied(daemon, container, "/opt/env/pyvenv.cfg", file):
            raise BuildError("the image has no environment: no /opt/env/pyvenv.cfg")
        said = file.read().decode()
    found = re.search(r"^version(?:_info)? = (\d+\.\d+)", said, re.MULTILINE)
    return f"/opt/env/lib/python{found[1] if found else ''}/site-packages"


def _kernels(daemon: Daemon, container: str, path: str, symbol: str) -> Kernels | None:
    with tempfile.NamedTemporaryFile() as file:
        if not _copied(daemon, container, path, file):
            return None
        return kernels.read(Path(file.name), symbol)


def _copied(daemon: Daemon, container: str, path: str, target: IO[bytes]) -> bool:
    """Copy one file out of a container and rewind it; False when there is no such file."""
    try:
        chunks, _ = daemon.client.api.get_archive(container, path)
    except NotFound:
        return False
    with closing(chunks), tarfile.open(fileobj=cast("IO[bytes]", _Stream(chunks)), mode="r|") as tar:
        for member in tar:
            if source := tar.extractfile(member):
                shutil.copyfileobj(source, target, CHUNK)
    target.flush()
    target.seek(0)
    return True


def files(daemon: Daemon, image: str) -> dict[str, str]:
    """Return each path of an image's file system, and what is there: kind, mode, owner, time, content."""
    with _exported(daemon, image) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        return {member.name: _describe(tar, member) for member in tar}


def different(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Name, one line each, the paths in which two images differ."""
    return [
        f"{path}: {old.get(path, 'missing')} → {new.get(path, 'missing')}"
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def _describe(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member) if member.isreg() else None
    content = _sha256(file)[:16] if file else member.linkname
    kind = member.type.decode(errors="replace")
    return f"{kind} {member.mode:o} {member.uid}:{member.gid} {int(member.mtime)} {content}"


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := file.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()


@contextmanager
def _exported(daemon: Daemon, image: str) -> Iterator[IO[bytes]]:
    with in_words("comparing two images"), _at_rest(daemon, image) as made:
        yield cast("IO[bytes]", _Stream(daemon.client.api.export(made)))


@contextmanager
def _at_rest(daemon: Daemon, image: str, platform: str | None = None) -> Iterator[str]:
    """Give a container of the image that is never started, of this platform or of another."""
    api = daemon.client.api
    made = str(api.create_container(image, ["true"], platform=platform)["Id"])
    try:
        yield made
    finally:
        api.remove_container(made, force=True, v=True)


class _Stream:
    """Chunks as a file that can be read forward."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end."""
        parts, have = [self._rest], len(self._rest)
        while have < size and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            have += len(chunk)
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]
