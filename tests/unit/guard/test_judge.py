"""When the guard ends a server, from readings alone."""

from dataclasses import replace

import pytest

from recipes.formats.serving.budget import Floors
from release.guard.judge import missing, verdict
from release.guard.reading import Phase, Reading

GB = 10**9
FLOORS = Floors(
    overhead=0, floor=16 * GB, startup_floor=8 * GB, swap_growth=GB // 2, pressure=50.0, return_within=2 * GB
)
FIRST = Reading(
    at=0.0,
    phase=Phase.STARTING,
    available=100 * GB,
    free=90 * GB,
    cached=10 * GB,
    swap_used=GB,
    pressure=0.0,
    rss=0,
    gpu=None,
)


def later(**changes: object) -> Reading:
    return replace(FIRST, at=10.0, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phase", "available", "ends"),
    [
        (Phase.STARTING, 9, False),
        (Phase.STARTING, 7, True),
        (Phase.SERVING, 17, False),
        (Phase.SERVING, 15, True),
    ],
)
def test_loading_may_go_lower_than_serving(phase: Phase, available: int, ends: bool) -> None:
    now = later(phase=phase, available=available * GB)
    assert (verdict(FLOORS, FIRST, replace(now, at=9.9), now) is not None) is ends


def test_a_fall_is_continued_so_that_the_floor_is_not_crossed() -> None:
    now = later(phase=Phase.SERVING, available=18 * GB)
    falling = replace(now, at=9.9, available=19 * GB)
    assert "falling by 10.00 GB/s" in (verdict(FLOORS, FIRST, falling, now) or "")


def test_swap_and_pressure_end_it_too() -> None:
    assert "swap grew by 0.60 GB" in (verdict(FLOORS, FIRST, FIRST, later(swap_used=1_600_000_000)) or "")
    assert "waited for memory 60 %" in (verdict(FLOORS, FIRST, FIRST, later(pressure=60.0)) or "")
    assert verdict(FLOORS, FIRST, FIRST, later(pressure=None)) is None


def test_memory_that_is_not_back_is_counted_where_it_is_asked_for() -> None:
    last = later(phase=Phase.AFTER, available=95 * GB)
    assert missing(FLOORS, FIRST, last) == 3 * GB
    assert missing(replace(FLOORS, return_within=0), FIRST, last) == 0
