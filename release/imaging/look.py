"""Looks into an image through the engine: its probe, and its files one by one."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from docker.types import Mount

from release.digest import CHUNK
from release.engines.daemon import Daemon, in_words
from release.errors import BuildError
from release.imaging.checks import Probe
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
    api = daemon.client.api
    with in_words("comparing two images"):
        made = str(api.create_container(image, ["true"])["Id"])
        try:
            yield cast("IO[bytes]", _Stream(api.export(made)))
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
