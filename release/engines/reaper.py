"""Containers whose release is gone. Each carries by whom, for what and when it was started."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import docker
from docker import errors as docker_errors

PREFIX = "graftsmith."


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that started a container: its id, its start in clock ticks, where it counts.

    An id is used again; the start tells two processes apart. ``where`` names the boot and
    the process namespace: an id of another one says nothing here.
    """

    pid: str
    started: str
    where: str

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        pid = str(os.getpid())
        return cls(pid=pid, started=_started(pid), where=f"{boot} {Path('/proc/self/ns/pid').readlink()}")

    def lives(self) -> bool:
        """Tell whether the process still runs."""
        return _started(self.pid) == self.started


def labels(step: str, key: str) -> dict[str, str]:
    """Return the labels of a container that this process starts for ``key``."""
    owner = Owner.here()
    return {
        f"{PREFIX}step": step,
        f"{PREFIX}key": key,
        f"{PREFIX}pid": owner.pid,
        f"{PREFIX}started": owner.started,
        f"{PREFIX}where": owner.where,
    }


def orphaned(found: Mapping[str, str], here: str) -> bool:
    """Tell whether a container with these labels has lost its release.

    One of another boot has; one of another process namespace cannot be judged from here.
    """
    where = found.get(f"{PREFIX}where", "")
    if where.split(" ")[0] != here.split(" ")[0]:
        return True
    owner = Owner(pid=found.get(f"{PREFIX}pid", ""), started=found.get(f"{PREFIX}started", ""), where=where)
    return where == here and not owner.lives()


def reap(client: docker.DockerClient) -> list[str]:
    """Remove each container whose release is gone; return the keys that they worked on.

    Call it before a key is taken: nothing of the last try may still write to its folder.
    """
    here, reaped = Owner.here().where, []
    for container in client.containers.list(all=True, filters={"label": f"{PREFIX}key"}, ignore_removed=True):
        if orphaned(container.labels, here):
            try:
                container.remove(force=True, v=True)
            except docker_errors.NotFound:  # another release reaped it
                continue
            reaped.append(container.labels[f"{PREFIX}key"])
    return reaped


def _started(pid: str) -> str:
    """Return when a process started, in clock ticks since boot; "" when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
