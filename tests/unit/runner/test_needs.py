"""What a runner's host needs, on hosts that we do not have here."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from release.doctor.finding import State
from release.errors import MachineError, UsageError
from release.runner import files
from release.runner.change import Change, Run, WriteFile, make
from release.runner.host import Host, Wish
from release.runner.needs import changes, needs, unmet
from tests.unit.doctor.test_checks import DOCKER, SPARK

assert DOCKER is not None

WISH = Wish()
TEXTS = files.texts(WISH, SPARK.memory)
READY = Host(
    machine=SPARK,
    root=True,
    systemd=True,
    apt=True,
    groups=("docker", "graftsmith"),
    docker_group=True,
    toolkit=True,
    earlyoom=True,
    swappiness=60,
    userns_restricted=False,
    store_owner="graftsmith",
    folder=True,
    runner=True,
    configured=True,
    files=TEXTS,
    units={files.UNIT_NAME: "enabled", "earlyoom.service": "enabled"},
)
FRESH = replace(
    READY,
    groups=None,
    toolkit=False,
    earlyoom=False,
    store_owner=None,
    folder=False,
    runner=False,
    configured=False,
    files={},
    units={},
    machine=replace(SPARK, swap=16 << 30, docker=replace(DOCKER, runtimes=("runc",)), clock=False),
)


def words(host: Host) -> list[str]:
    return [change.words() for change in changes(needs(host, WISH))]


def states(host: Host) -> dict[str, State]:
    found = [need.finding for need in needs(host, WISH)]
    return {one.name: one.state for one in found if one.state is not State.GOOD}


def test_a_host_that_is_set_up_asks_for_nothing_and_nothing_is_changed() -> None:
    assert states(READY) == {}
    assert words(READY) == []


def test_a_fresh_host_gets_each_change_once_and_in_an_order_that_works() -> None:
    assert words(FRESH) == [
        "apt-get install --yes --no-install-recommends nvidia-container-toolkit",
        "nvidia-ctk runtime configure --runtime=docker",
        "systemctl reload docker",
        "useradd --system --home-dir /opt/graftsmith-runner --shell /usr/sbin/nologin graftsmith",
        "usermod --append --groups docker graftsmith",
        "install -d -o graftsmith -g graftsmith -m 0750 /var/lib/graftsmith",
        "write /etc/sysctl.d/90-graftsmith.conf",
        "sysctl --quiet --load /etc/sysctl.d/90-graftsmith.conf",
        "apt-get install --yes --no-install-recommends earlyoom",
        "write /etc/systemd/system/earlyoom.service.d/graftsmith.conf",
        "systemctl daemon-reload",
        "systemctl enable earlyoom.service",
        "systemctl restart earlyoom.service",
        "timedatectl set-ntp true",
        "install -d -o graftsmith -g graftsmith -m 0750 /opt/graftsmith-runner",
        "write /etc/systemd/system/graftsmith-runner.service",
        "systemctl daemon-reload",
    ]


def machine(**facts: Any) -> Host:
    return replace(READY, machine=replace(SPARK, **facts))


@pytest.mark.parametrize(
    ("host", "name", "state", "changed"),
    [
        (replace(READY, systemd=False), "systemd", State.BAD, 0),
        (machine(gpu={}), "driver", State.BAD, 0),
        (machine(gpu={**SPARK.gpu, "driver": "570.1"}), "driver", State.BAD, 0),
        (machine(docker=None), "container toolkit", State.BAD, 0),
        (machine(docker=replace(DOCKER, runtimes=("runc",))), "container toolkit", State.BAD, 2),
        (replace(READY, groups=("graftsmith",)), "user graftsmith", State.BAD, 1),
        (replace(READY, groups=("docker", "sudo")), "user graftsmith", State.BAD, 0),
        (replace(READY, store_owner="root"), "store /var/lib/graftsmith", State.BAD, 0),
        (machine(free=200_000_000_000), "disk", State.BAD, 0),
        (replace(READY, userns_restricted=True), "isolation", State.WEAK, 0),
        (machine(swap=16 << 30), "swap", State.WEAK, 2),
        (replace(READY, files={**TEXTS, files.EARLYOOM: "theirs"}), "earlyoom", State.WEAK, 4),
        (machine(clock=False), "clock", State.WEAK, 1),
        (machine(clock=None), "clock", State.UNKNOWN, 0),
        (replace(READY, runner=False, configured=False), "runner", State.BAD, 0),
        (replace(READY, configured=False), "runner", State.BAD, 0),
        (replace(READY, files={**TEXTS, files.UNIT: "old"}), f"unit {files.UNIT_NAME}", State.BAD, 4),
    ],
)
def test_one_fault_is_one_finding_with_what_to_do(host: Host, name: str, state: State, changed: int) -> None:
    assert states(host) == {name: state}
    (need,) = [need for need in needs(host, WISH) if need.finding.name == name]
    assert need.finding.hint or state is State.UNKNOWN
    assert len(need.changes) == changed


def test_a_swap_that_is_all_but_unused_is_the_owners() -> None:
    assert states(replace(machine(swap=16 << 30), swappiness=files.SWAPPINESS)) == {}


def test_what_stops_a_release_is_told_from_what_does_not() -> None:
    assert [one.name for one in unmet(needs(machine(swap=1 << 30, free=0), WISH))] == ["disk"]


def test_earlyoom_acts_below_what_the_guard_leaves() -> None:
    share = files.percent(SPARK.memory, 8 << 30)
    assert 0 < share * SPARK.memory / 100 <= 4 << 30
    assert f"-m {share} " in TEXTS[files.EARLYOOM]


@pytest.mark.parametrize(
    "wish",
    [
        Wish(user="root"),
        Wish(user="a b"),
        Wish(user="x\nExecStart=/bin/sh"),
        Wish(folder=Path("/opt")),
        Wish(folder=Path("relative/path")),
        Wish(folder=Path("/opt/../etc/x")),
        Wish(store=Path("/var/lib/x y")),
    ],
)
def test_names_that_a_unit_would_read_as_something_else_are_refused(wish: Wish) -> None:
    with pytest.raises(UsageError):
        files.check(wish)


def test_changes_are_named_made_and_made_again_without_harm(tmp_path: Path) -> None:
    said: list[str] = []
    planned: list[Change] = [
        WriteFile(path=files.UNIT, text=TEXTS[files.UNIT]),
        Run(argv=("mkdir", "-p", str(tmp_path / "made by a command"))),
    ]
    for _ in range(2):
        make(planned, said.append, tmp_path)
    assert (tmp_path / "etc/systemd/system" / files.UNIT_NAME).read_text() == TEXTS[files.UNIT]
    assert (tmp_path / "made by a command").is_dir()
    assert said[0] == f"  write {files.UNIT}" and len(said) == 4
    assert [path.name for path in (tmp_path / "etc/systemd/system").iterdir()] == [files.UNIT_NAME]


def test_a_change_that_fails_says_what_the_system_said(tmp_path: Path) -> None:
    missing = str(tmp_path / "not" / "there")
    with pytest.raises(MachineError, match="No such file"):
        make([Run(argv=("ls", missing)), WriteFile(path=Path("/x"), text="")], print, tmp_path)
    assert not (tmp_path / "x").exists(), "what comes after a failure is not done"


@pytest.mark.skipif(which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / files.UNIT_NAME
    runner = tmp_path / "run.sh"
    runner.write_text("#!/bin/sh\n")
    runner.chmod(0o755)
    text = TEXTS[files.UNIT].replace(f"{WISH.folder}/run.sh", str(runner))
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if files.UNIT_NAME in line]
    assert not any("Unknown" in line or "Failed to parse" in line for line in complaints), done.stderr


def test_the_files_name_the_user_and_both_folders() -> None:
    wish = Wish(user="ci", folder=Path("/srv/runner"), store=Path("/srv/store"))
    wanted: Mapping[Path, str] = files.texts(wish, 128 << 30)
    for words in ("User=ci", "ExecStart=/srv/runner/run.sh", "GRAFTSMITH_STORE=/srv/store"):
        assert words in wanted[files.UNIT]
