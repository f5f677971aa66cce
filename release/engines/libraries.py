"""Libraries of the system that no wheel brings: what a step on the local engine needs of this machine.

An image in a container has its own; an environment built from wheels takes the host's.
"""

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass

from release.errors import MachineError
from release.images import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A shared library, and Debian's package that brings it."""

    file: str
    package: str


NEEDED = {("serve", "cpu"): (Library(file="libnuma.so.1", package="libnuma1"),)}
"""By image and variant. vLLM's CPU kernels are linked against libnuma, and fail with riddles without."""


def missing(images: Iterable[Image]) -> tuple[Library, ...]:
    """Return what the environments of ``images`` need and this machine lacks."""
    needed = {library for image in images for library in NEEDED.get((image.name, image.variant), ())}
    return tuple(library for library in sorted(needed, key=lambda one: one.file) if not loads(library.file))


def loads(file: str) -> bool:
    """Tell whether the dynamic linker finds a library."""
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


def require(lacking: Iterable[Library]) -> None:
    """Refuse to begin what would fail in minutes. Raises MachineError with what to install."""
    named = tuple(lacking)
    if named:
        raise MachineError(
            f"this machine lacks {', '.join(one.file for one in named)}",
            why="vLLM's CPU build needs it to serve, and no wheel brings it. Nothing was built.",
            hint=f"sudo apt-get install {' '.join(one.package for one in named)}",
        )
