"""What one pass over the battery showed, and what all of them say of drift. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recipes.formats.evidence import Measurement
from recipes.steps.soak.trend import FEWEST, trend

MIB = 1 << 20
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One pass. ``at`` is its end in seconds; memory in bytes, read with nothing in flight.

    ``length`` is its acceptance length, None without a draft head.
    """

    at: float
    requests: int
    tokens: int
    length: float | None
    resident: int
    used: int


def figures(windows: Sequence[Window]) -> list[Measurement]:
    """Return how long it soaked, and the drift with its bounds; no drift of too few windows.

    Memory is followed over the last half, since the first fills caches.
    """
    seconds = windows[-1].at if windows else 0.0
    requests = sum(window.requests for window in windows)
    how = (
        f"{requests} requests that end by themselves: the battery {len(windows)} times, with other seeds each"
    )
    found = [Measurement(name="minutes", value=seconds / 60, unit="min", n=len(windows), how=how)]
    if len(windows) < FEWEST:
        return found
    # An engine hands out the blocks of its cache in turn, and each takes memory when it is first written.
    filled = [window for window in windows if window.at > seconds / 2]
    if len(filled) >= FEWEST:
        found += _memory(
            "server_memory_growth", "resident memory of the server's processes", filled, _resident
        )
        found += _memory(
            "machine_memory_growth", "all memory of the machine less MemAvailable", filled, _used
        )
    lengths = [window.length for window in windows if window.length is not None]
    return [*found, *_drift(windows, lengths)] if len(lengths) == len(windows) else found


def _resident(window: Window) -> int:
    return window.resident


def _used(window: Window) -> int:
    return window.used


def _memory(
    name: str, what: str, windows: Sequence[Window], of: Callable[[Window], int]
) -> list[Measurement]:
    found = trend([window.at for window in windows], [of(window) for window in windows])
    how = f"{what} after each pass, with nothing in flight: Sen's slope over the last {len(windows)} passes"
    scale = HOUR_S / MIB
    return [
        Measurement(name=name, value=found.slope * scale, unit="MiB/h", n=len(windows), how=how),
        Measurement(
            name=f"{name}_high",
            value=found.high * scale,
            unit="MiB/h",
            n=len(windows),
            how=f"{how}, its upper one-sided 95 % bound",
        ),
    ]


def _drift(windows: Sequence[Window], lengths: Sequence[float]) -> list[Measurement]:
    found = trend([window.at for window in windows], lengths)
    middle = sorted(lengths)[len(lengths) // 2]
    scale = (windows[-1].at - windows[0].at) / middle
    how = f"acceptance length of each pass: Sen's slope over {len(windows)} passes, from first to last"
    return [
        Measurement(
            name="length_change", value=found.slope * scale, unit="fraction", n=len(windows), how=how
        ),
        Measurement(
            name="length_change_low",
            value=found.low * scale,
            unit="fraction",
            n=len(windows),
            how=f"{how}, its lower one-sided 95 % bound",
        ),
    ]
