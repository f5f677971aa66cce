"""When a server must be stopped, decided from readings. Pure."""

from recipes.formats.serving.budget import Floors
from release.guard.reading import Phase, Reading

AHEAD_S = 0.5
"""How far the fall of available memory is continued: a stop takes effect about so late."""


def verdict(floors: Floors, first: Reading, before: Reading, now: Reading) -> str | None:
    """Say why the server must be stopped now, None while it may go on.

    ``first`` was read before it started and ``before`` a moment ago. The fall between the last
    two is continued for half a second, so that the floor is not crossed while the server ends.
    """
    floor = floors.startup_floor if now.phase is Phase.STARTING else floors.floor
    fall = max(0.0, (before.available - now.available) / max(now.at - before.at, 1e-3))
    left = now.available - fall * AHEAD_S
    grown = now.swap_used - first.swap_used
    if left < floor:
        return (
            f"{now.available / 1e9:.2f} GB were available, falling by {fall / 1e9:.2f} GB/s, and the floor "
            f"while {now.phase} is {floor / 1e9:.2f} GB"
        )
    if grown > floors.swap_growth:
        return f"swap grew by {grown / 1e9:.2f} GB, and {floors.swap_growth / 1e9:.2f} GB are allowed"
    if now.pressure is not None and now.pressure > floors.pressure:
        return f"every task waited for memory {now.pressure:.0f} % of ten seconds"
    return None


def missing(floors: Floors, first: Reading, last: Reading) -> int:
    """Return the bytes that did not come back after the stop, beyond what is allowed; 0 is fine."""
    if not floors.return_within:
        return 0
    return max(0, first.available - floors.return_within - last.available)
