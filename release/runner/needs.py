"""What a runner's host needs: facts in, findings and changes out. Pure.

A change is proposed where what it does is ours alone or can be taken back with one line. What
weakens the host, or what only its owner can decide (a driver, a token, the swap itself), is
said and left to the owner.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release.doctor.checks import CUDA_13_DRIVER, SPARE
from release.doctor.finding import Finding, State, bad, good, unknown, weak
from release.doctor.machine import Machine
from release.report.terminal import size
from release.runner import files
from release.runner.change import Change, Run, WriteFile
from release.runner.host import Host, Wish

RELEASE_BYTES = 280_000_000_000
"""A first release of 27B with a rebuild check: both checkpoints, a body, two images packed and unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One thing that a host needs, how it stands, and what ``--apply`` would do about it."""

    finding: Finding
    changes: tuple[Change, ...] = ()


def needs(host: Host, wish: Wish) -> tuple[Need, ...]:
    """Return every need of a runner's host, in the order in which they are to be met."""
    wanted = files.texts(wish, host.machine.memory)
    return (
        _system(host),
        _driver(host.machine),
        _toolkit(host),
        _user(host, wish),
        _store(host, wish),
        _disk(host.machine, wish),
        _isolation(host),
        _swap(host, wanted),
        _earlyoom(host, wanted),
        _clock(host),
        _runner(host, wish),
        _unit(host, wanted),
    )


def changes(found: tuple[Need, ...]) -> tuple[Change, ...]:
    """Return what is to be done, in this order."""
    return tuple(change for need in found for change in need.changes)


def _system(host: Host) -> Need:
    if not host.systemd:
        return Need(finding=bad("systemd", "not running here", "the unit needs it: run this on the GB10"))
    if not host.apt:
        return Need(finding=weak("packages", "no apt-get", "install what is missing with your own tools"))
    return Need(finding=good("system", "systemd and apt-get"))


def _driver(machine: Machine) -> Need:
    if not machine.gpu:
        return Need(
            finding=bad("driver", "nvidia-smi does not answer", "install NVIDIA's driver, then reboot")
        )
    driver = machine.gpu.get("driver", "?")
    branch = driver.partition(".")[0]
    found = f"{machine.gpu.get('gpu', '?')}, driver {driver}"
    if not branch.isdigit() or int(branch) < CUDA_13_DRIVER:
        return Need(
            finding=bad("driver", found, f"CUDA 13.0 needs {CUDA_13_DRIVER} or newer: update, then reboot")
        )
    return Need(finding=good("driver", found))


def _toolkit(host: Host) -> Need:
    name = "container toolkit"
    docker = host.machine.docker
    if docker is None:
        return Need(finding=bad(name, "no Docker engine answers", "install Docker and start it"))
    if "nvidia" in docker.runtimes:
        return Need(finding=good(name, "Docker has the nvidia runtime"))
    install = () if host.toolkit or not host.apt else (_install("nvidia-container-toolkit"),)
    configure = (
        Run(argv=("nvidia-ctk", "runtime", "configure", "--runtime=docker")),
        Run(argv=("systemctl", "reload", "docker")),  # runtimes are read again; containers go on
    )
    can = host.toolkit or host.apt
    return Need(
        finding=bad(name, "Docker has no nvidia runtime", "--apply configures it and reloads Docker"),
        changes=(*install, *configure) if can and host.systemd else (),
    )


def _user(host: Host, wish: Wish) -> Need:
    name = f"user {wish.user}"
    if host.groups is None:
        made = Run(
            argv=(
                "useradd",
                "--system",
                "--home-dir",
                str(wish.folder),
                "--shell",
                "/usr/sbin/nologin",
                wish.user,
            )
        )
        return Need(
            finding=bad(name, "there is none", "--apply makes it: a user that does nothing else"),
            changes=(made, *_join(host, wish)),
        )
    rights = sorted({"sudo", "wheel", "admin", "root"} & set(host.groups))
    if rights:
        hint = f"take it out: sudo gpasswd --delete {wish.user} {rights[0]}"
        return Need(finding=bad(name, f"may become root: {', '.join(rights)}", hint))
    if host.docker_group and "docker" not in host.groups:
        return Need(
            finding=bad(name, "not in the group docker", "--apply adds it"), changes=_join(host, wish)
        )
    return Need(finding=good(name, "in the group docker, and no other that may become root"))


def _join(host: Host, wish: Wish) -> tuple[Change, ...]:
    join = Run(argv=("usermod", "--append", "--groups", "docker", wish.user))
    return (join,) if host.docker_group else ()


def _store(host: Host, wish: Wish) -> Need:
    name = f"store {wish.store}"
    if host.store_owner == wish.user:
        return Need(finding=good(name, f"owned by {wish.user}"))
    if host.store_owner is None:
        made = Run(argv=("install", "-d", "-o", wish.user, "-g", wish.user, "-m", "0750", str(wish.store)))
        return Need(finding=bad(name, "there is none", "--apply makes it"), changes=(made,))
    hint = f"it is somebody's: sudo chown -R {wish.user}: {wish.store}, or another --store"
    return Need(finding=bad(name, f"owned by {host.store_owner}", hint))


def _disk(machine: Machine, wish: Wish) -> Need:
    found = f"{size(machine.free)} free at {wish.store}; a first release takes {size(RELEASE_BYTES)}"
    if machine.free < RELEASE_BYTES * SPARE:
        return Need(finding=bad("disk", found, "put --store on a larger disk; jobs collect garbage before"))
    return Need(finding=good("disk", found))


def _isolation(host: Host) -> Need:
    if not host.userns_restricted:
        return Need(finding=good("isolation", "user namespaces are not restricted"))
    hint = "steps need --engine docker then; lifting it is your decision: docs/how-to/gb10.md"
    return Need(finding=weak("isolation", "AppArmor restricts user namespaces", hint))


def _swap(host: Host, wanted: Mapping[Path, str]) -> Need:
    swap = host.machine.swap
    if not swap:
        return Need(finding=good("swap", "none"))
    found = f"{size(swap)}, swappiness {host.swappiness}"
    if host.swappiness == files.SWAPPINESS and _stands(host, wanted, files.SYSCTL):
        return Need(finding=good("swap", f"{found}; the runner's own jobs never swap"))
    write = WriteFile(path=files.SYSCTL, text=wanted[files.SYSCTL])
    apply = Run(argv=("sysctl", "--quiet", "--load", str(files.SYSCTL)))
    hint = f"--apply sets vm.swappiness = {files.SWAPPINESS}; sudo swapoff -a is yours to decide"
    return Need(finding=weak("swap", found, hint), changes=(write, apply))


def _earlyoom(host: Host, wanted: Mapping[Path, str]) -> Need:
    enabled = host.units.get("earlyoom.service") == "enabled"
    if host.earlyoom and enabled and _stands(host, wanted, files.EARLYOOM):
        return Need(finding=good("earlyoom", "acts below the guard, spares the runner and Docker"))
    if not host.earlyoom and not host.apt:
        return Need(finding=weak("earlyoom", "not installed", "install it, then run this again"))
    install = () if host.earlyoom else (_install("earlyoom"),)
    found = "not installed" if not host.earlyoom else "its policy is not ours: it may end a server too soon"
    return Need(
        finding=weak("earlyoom", found, "--apply installs it with a floor below the guard's"),
        changes=(
            *install,
            WriteFile(path=files.EARLYOOM, text=wanted[files.EARLYOOM]),
            *_restart("earlyoom.service"),
        )
        if host.systemd
        else (),
    )


def _clock(host: Host) -> Need:
    if host.machine.clock is None:
        return Need(finding=unknown("clock", "the kernel does not tell"))
    if host.machine.clock:
        return Need(finding=good("clock", "synchronized"))
    hint = "--apply: signatures and tokens depend on the time"
    return Need(
        finding=weak("clock", "not synchronized", hint),
        changes=(Run(argv=("timedatectl", "set-ntp", "true")),),
    )


def _runner(host: Host, wish: Wish) -> Need:
    if host.configured:
        return Need(finding=good("runner", f"registered, in {wish.folder}"))
    if host.runner:
        hint = f"as {wish.user}, in {wish.folder}: ./config.sh --url YOUR-REPO --token TOKEN --labels gb10"
        return Need(finding=bad("runner", "there, and not registered", hint))
    hint = "unpack GitHub's runner for linux-arm64 there: Settings, Actions, Runners of your repo"
    made = Run(argv=("install", "-d", "-o", wish.user, "-g", wish.user, "-m", "0750", str(wish.folder)))
    missing = () if host.folder else (made,)
    return Need(finding=bad("runner", f"no run.sh in {wish.folder}", hint), changes=missing)


def _unit(host: Host, wanted: Mapping[Path, str]) -> Need:
    name = f"unit {files.UNIT_NAME}"
    stands = _stands(host, wanted, files.UNIT)
    enabled = host.units.get(files.UNIT_NAME) == "enabled"
    if stands and (enabled or not host.configured):
        after = "enabled" if enabled else "written; it is started once the runner is registered"
        return Need(finding=good(name, after))
    write = () if stands else (WriteFile(path=files.UNIT, text=wanted[files.UNIT]),)
    start = _restart(files.UNIT_NAME) if host.configured else (Run(argv=("systemctl", "daemon-reload")),)
    there = "not enabled" if stands else "differs from what is wanted"
    found = there if files.UNIT in host.files else "not there"
    return Need(
        finding=bad(name, found, "--apply writes it, and starts it once the runner is registered"),
        changes=(*write, *start) if host.systemd else (),
    )


def _restart(unit: str) -> tuple[Change, ...]:
    verbs = (("daemon-reload",), ("enable", unit), ("restart", unit))
    return tuple(Run(argv=("systemctl", *verb)) for verb in verbs)


def _install(package: str) -> Change:
    return Run(argv=("apt-get", "install", "--yes", "--no-install-recommends", package))


def _stands(host: Host, wanted: Mapping[Path, str], path: Path) -> bool:
    return host.files.get(path) == wanted[path]


def unmet(found: tuple[Need, ...]) -> tuple[Finding, ...]:
    """Return the findings with which no release can run."""
    return tuple(need.finding for need in found if need.finding.state is State.BAD)
