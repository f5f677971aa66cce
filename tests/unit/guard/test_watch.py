"""The guard looks often enough, also when the machine has other things to do."""

import multiprocessing
import os
import time
from itertools import pairwise

import pytest

from release.guard.nvml import Gpus
from release.guard.watch import Watch
from tests.unit.guard.test_guarded import MODEST

SECONDS = 4.0


def burn() -> None:
    while True:
        pass


@pytest.mark.timeout(60)
def test_four_readings_a_second_are_kept_while_every_core_is_busy_twice() -> None:
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=burn, daemon=True) for _ in range(2 * (os.cpu_count() or 1))]
    for process in busy:
        process.start()
    try:
        time.sleep(1.0)  # until they have loaded
        with Watch(MODEST, Gpus()) as watch:
            watch.follow(os.getpid())
            time.sleep(SECONDS)
    finally:
        for process in busy:
            process.kill()
            process.join()
    apart = sorted(after.at - before.at for before, after in pairwise(watch.timeline))
    assert len(watch.timeline) >= 4 * SECONDS
    assert apart[int(0.9 * len(apart))] <= 0.25, "every quarter of a second, but for hiccups"
