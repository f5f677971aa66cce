"""What the driver says in the kernel's log is read, told apart, and ends a server when it is grave."""

import json
import os
from pathlib import Path

import pytest

from release.errors import MachineError
from release.guard.guarded import KERNEL_FILE, Guarded
from release.guard.kernel_log import KernelLog, Said, open_kernel_log, parse
from tests.unit.guard.test_guarded import MODEST, Starts, job

FALLEN = "NVRM: Xid (PCI:000f:01:00): 79, pid=4711, name=VLLM::EngineCor, GPU has fallen off the bus."
NO_MEMORY = (
    "NVRM: nvCheckOkFailedNoLog: Check failed: Out of memory [NV_ERR_NO_MEMORY] (0x00000051) returned from "
    "_memdescAllocInternal(pMemDesc) @ mem_desc.c:1353"
)
LOADED = "NVRM: loading NVIDIA UNIX Open Kernel Module for aarch64  580.95.05"
RECORDS = f"""\
6,812,90210,-;usb 1-1: new high-speed USB device number 2
3,813,5140900,-;{FALLEN}
 SUBSYSTEM=pci
 DEVICE=+pci:000f:01:00.0
3,814,5140911,-,caller=T4711;{NO_MEMORY}
5,815,5140922,-;{LOADED}
6,816,5140933,-;audit: NVRM: is no first word here
"""


def test_the_drivers_lines_are_told_apart_from_others() -> None:
    assert parse(RECORDS) == (
        Said(xid=79, text=FALLEN),
        Said(xid=None, text=NO_MEMORY),
        Said(xid=None, text=LOADED),
    )
    assert [said.grave for said in parse(RECORDS)] == [True, True, False]


def test_only_what_came_after_it_was_opened_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "kmsg"
    file.write_text(f"3,1,1,-;{FALLEN}\n")
    log = open_kernel_log(file)
    assert log.readable
    assert log.new() == ()
    with file.open("a") as more:
        more.write(f"5,2,2,-;{LOADED}\n")
    assert log.new() == (Said(xid=None, text=LOADED),)
    assert log.new() == ()
    log.close()
    assert not log.readable


def test_a_log_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    log = open_kernel_log(tmp_path / "none")
    assert (log.readable, log.new()) == (False, ())
    assert KernelLog(None).new() == ()


@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK), reason="this user may not read the kernel's log")
def test_the_kernels_own_log_is_read_without_waiting() -> None:
    log = open_kernel_log()
    log.new()
    log.close()


SAYS = """
import pathlib, sys, time
time.sleep(0.3)
with pathlib.Path({file!r}).open("a") as log:
    log.write({line!r} + chr(10))
time.sleep({then})
"""


@pytest.mark.timeout(60)
def test_an_error_of_the_gpu_ends_the_server_and_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "kmsg"
    file.touch()
    server = Starts(SAYS.format(file=str(file), line=f"3,9,9,-;{FALLEN}", then=30))
    with pytest.raises(MachineError, match=r"stopped the server: the driver said: NVRM: Xid .*79"):
        Guarded(inner=server, floors=MODEST, kernel_log=file).run(job(tmp_path))
    kept = json.loads((tmp_path / f"smoke.{KERNEL_FILE}").read_text())
    assert (kept["xid"], kept["text"]) == (79, FALLEN)
    assert kept["at"] > 0


@pytest.mark.timeout(60)
def test_a_line_that_is_not_grave_is_evidence_and_no_reason_to_stop(tmp_path: Path) -> None:
    file = tmp_path / "kmsg"
    file.touch()
    server = Starts(SAYS.format(file=str(file), line=f"5,9,9,-;{LOADED}", then=0.3))
    Guarded(inner=server, floors=MODEST, kernel_log=file).run(job(tmp_path))
    assert LOADED in (tmp_path / "out" / KERNEL_FILE).read_text()
    assert KERNEL_FILE in json.loads((tmp_path / "out" / "tree.json").read_text())["files"]
