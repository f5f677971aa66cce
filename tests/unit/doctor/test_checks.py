"""What the doctor says of machines that we do not have here."""

from dataclasses import replace
from pathlib import Path

import pytest

from release.doctor.checks import Wants, findings
from release.doctor.finding import State
from release.doctor.machine import Docker, Machine
from release.engines.libraries import Library

DOCKER = Docker(version="29.1", snapshots=True, runtimes=("nvidia", "runc"), buildx="v0.30", builder=False)
SPARK = Machine(
    python=(3, 12),
    uv="0.13.9",
    store=Path("/store"),
    free=900_000_000_000,
    links=True,
    lacks=(),
    memory=121 << 30,
    swap=0,
    gpu={"gpu": "NVIDIA GB10", "driver": "580.95.05", "capability": "12.1"},
    isolation={"filesystem": "landlock 5", "network": "loopback only", "processes": "own processes"},
    docker=DOCKER,
    clock=True,
)
FLAGSHIP = Wants(
    recipe="flagship", gpu=True, containers=True, writes=280_000_000_000, isolation_required=False
)
TINY = Wants(recipe="tiny", gpu=False, containers=False, writes=12_000_000_000, isolation_required=False)
NUMA = Library(file="libnuma.so.1", package="libnuma1")
CLASSIC = replace(DOCKER, snapshots=False)


def states(machine: Machine, wants: Wants) -> dict[str, State]:
    return {one.name: one.state for one in findings(machine, wants) if one.state is not State.GOOD}


def test_a_spark_that_is_set_up_asks_for_nothing() -> None:
    assert states(SPARK, FLAGSHIP) == {}


@pytest.mark.parametrize(
    ("machine", "name", "state"),
    [
        (replace(SPARK, uv=None), "uv", State.BAD),
        (replace(SPARK, free=290_000_000_000), "disk", State.BAD),
        (replace(SPARK, links=False), "hard links", State.WEAK),
        (replace(SPARK, isolation={"network": "none: not permitted"}), "isolation: network", State.WEAK),
        (replace(SPARK, swap=16 << 30), "swap", State.WEAK),
        (replace(SPARK, memory=31 << 30), "memory", State.WEAK),
        (replace(SPARK, gpu={}), "GPU", State.BAD),
        (replace(SPARK, gpu={**SPARK.gpu, "driver": "570.1"}), "GPU", State.BAD),
        (replace(SPARK, gpu={**SPARK.gpu, "driver": "[N/A]"}), "GPU", State.BAD),
        (replace(SPARK, gpu={**SPARK.gpu, "capability": "9.0"}), "GPU", State.WEAK),
        (replace(SPARK, docker=None), "docker", State.BAD),
        (replace(SPARK, docker=replace(DOCKER, runtimes=("runc",))), "docker: GPU", State.BAD),
        (replace(SPARK, docker=replace(DOCKER, buildx=None)), "docker: buildx", State.BAD),
        (
            replace(SPARK, docker=replace(DOCKER, snapshots=False, builder=True)),
            "docker: image store",
            State.WEAK,
        ),
        (replace(SPARK, lacks=(NUMA,)), "libraries", State.BAD),
        (replace(SPARK, clock=False), "clock", State.WEAK),
        (replace(SPARK, clock=None), "clock", State.UNKNOWN),
    ],
)
def test_one_fault_is_one_finding_that_says_what_to_do(machine: Machine, name: str, state: State) -> None:
    assert states(machine, FLAGSHIP) == {name: state}
    (found,) = [one for one in findings(machine, FLAGSHIP) if one.name == name]
    assert found.hint or state is State.UNKNOWN


def test_it_says_which_builder_images_would_be_built_with() -> None:
    assert DOCKER is not None
    for docker, words in (
        (DOCKER, "the engine's own BuildKit"),
        (replace(CLASSIC, builder=True), "graftsmith, a container of moby/buildkit"),
        (CLASSIC, "not made yet"),
    ):
        found = {one.name: one for one in findings(replace(SPARK, docker=docker), FLAGSHIP)}
        assert words in found["docker: builder"].found


def test_a_laptop_without_gpu_and_docker_is_good_enough_for_tiny() -> None:
    laptop = replace(SPARK, gpu={}, docker=None, swap=8 << 30, memory=16 << 30)
    assert states(laptop, TINY) == {}


def test_isolation_that_is_demanded_must_be_there() -> None:
    weak = replace(SPARK, isolation={"processes": "none: Operation not permitted"})
    assert states(weak, replace(TINY, isolation_required=True)) == {"isolation: processes": State.BAD}
