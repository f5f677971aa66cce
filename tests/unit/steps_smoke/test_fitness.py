"""A machine that is slower than it can be is told as such, and no figure of it is kept."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.formats.step import Exit, StepError
from recipes.steps.smoke import fitness
from recipes.steps.smoke.fitness import Demand, Probe

FINE = Probe(
    device="NVIDIA GB10",
    copied_bytes=4 << 30,
    bytes_per_second=240e9,
    product_side=8192,
    flops_per_second=60e12,
    clocks={"clocks.sm": "2400 MHz"},
)
ASKED = Demand(at_least=0.95, record=None)


def test_probes_that_agree_are_fit_and_the_best_is_the_bandwidth() -> None:
    probes = [FINE, replace(FINE, bytes_per_second=236e9)]
    fitness.require(ASKED, probes)
    found = {figure.name: figure for figure in fitness.figures(ASKED, probes)}
    assert (found["memory_bandwidth"].value, found["memory_bandwidth"].unit) == (240.0, "GB/s")
    assert found["fitness"].value == pytest.approx(236 / 240)


@pytest.mark.parametrize(
    "slow", [replace(FINE, bytes_per_second=150e9), replace(FINE, flops_per_second=30e12)]
)
def test_a_machine_that_slowed_down_is_an_environment_error_with_its_clocks(slow: Probe) -> None:
    with pytest.raises(StepError, match=r"(?s)not fit.*after boot 1.*2400 MHz") as caught:
        fitness.require(ASKED, [FINE, slow])
    assert caught.value.code is Exit.ENVIRONMENT


def test_a_machine_that_was_slow_from_the_start_is_told_by_its_record() -> None:
    with pytest.raises(StepError, match="before the first boot"):
        fitness.require(replace(ASKED, record=273e9), [FINE, FINE])


def test_a_laptop_is_only_written_down() -> None:
    anything = Demand(at_least=0.0, record=None)
    probes = [FINE, replace(FINE, bytes_per_second=24e9)]
    fitness.require(anything, probes)
    assert fitness.facts(anything, probes)["verdict"] != "fit"


def test_a_python_that_cannot_probe_is_told(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"(?s)probe of the machine ended with 1.*torch") as caught:
        fitness.measure(sys.executable, {}, tmp_path / "probe.log")
    assert caught.value.code is Exit.ENVIRONMENT


@pytest.mark.env
@pytest.mark.timeout(120)
def test_the_probe_measures_this_machine(serve_python: Path, tmp_path: Path) -> None:
    found = fitness.measure(str(serve_python), {}, tmp_path / "probe.log")
    assert 1e8 < found.bytes_per_second < 1e13
    assert 1e9 < found.flops_per_second < 1e16
