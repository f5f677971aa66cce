"""What there is on a host that is to run releases: the one module of the room that looks.

Nothing is changed; what cannot be asked is None or empty, and that is a fact like the others.
"""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.doctor.machine import Machine, look

TIMEOUT_S = 20
APT_LISTS = Path("/var/lib/apt/lists")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How the owner wants the runner: its user, its folder, and where results are kept."""

    user: str = "graftsmith"
    folder: Path = Path("/opt/graftsmith-runner")
    store: Path = Path("/var/lib/graftsmith")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The facts. ``groups`` is None while there is no such user; ``files`` are those that we would write.

    ``units`` says of each unit what systemd answers to is-enabled. ``store_owner`` is a user's
    name, None while there is no folder. ``configured`` says whether GitHub's runner is there
    (``run.sh``) and was registered (``.runner``).
    """

    machine: Machine
    root: bool
    systemd: bool
    apt: bool
    groups: tuple[str, ...] | None
    docker_group: bool
    toolkit: bool
    earlyoom: bool
    swappiness: int
    userns_restricted: bool
    store_owner: str | None
    folder: bool
    runner: bool
    configured: bool
    files: Mapping[Path, str]
    units: Mapping[str, str]


def probe(wish: Wish, files: tuple[Path, ...], units: tuple[str, ...]) -> Host:
    """Ask this host. ``files`` are read where they exist; ``units`` are asked of systemd."""
    systemd = Path("/run/systemd/system").is_dir()
    return Host(
        machine=look(wish.store),
        root=os.geteuid() == 0,
        systemd=systemd,
        apt=shutil.which("apt-get") is not None and APT_LISTS.is_dir(),
        groups=_groups(wish.user),
        docker_group=any(group.gr_name == "docker" for group in grp.getgrall()),
        toolkit=shutil.which("nvidia-ctk") is not None,
        earlyoom=shutil.which("earlyoom") is not None,
        swappiness=_number("/proc/sys/vm/swappiness"),
        userns_restricted=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1,
        store_owner=_owner(wish.store),
        folder=wish.folder.is_dir(),
        runner=(wish.folder / "run.sh").is_file(),
        configured=(wish.folder / ".runner").is_file(),
        files={path: text for path in files if (text := _text(path)) is not None},
        units={unit: _enabled(unit) for unit in units} if systemd else {},
    )


def _groups(user: str) -> tuple[str, ...] | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    numbers = os.getgrouplist(user, entry.pw_gid)
    return tuple(sorted(group.gr_name for group in grp.getgrall() if group.gr_gid in numbers))


def _owner(folder: Path) -> str | None:
    try:
        return folder.owner()
    except (OSError, KeyError):
        return None


def _number(path: str) -> int:
    text = _text(Path(path)) or ""
    return int(text) if text.strip().isdigit() else -1


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _enabled(unit: str) -> str:
    try:
        done = subprocess.run(
            ["systemctl", "is-enabled", unit], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "not there"
