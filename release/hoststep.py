"""A host step: a pure function from input trees to files, run by the same executor.

Its key holds its inputs, its params and its ``revision``: raise the revision when the
function's output changes (a golden test fails until you do).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from recipes.formats.step import Taken
from release.digest import Json, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The files of a host step: new bytes by path, and files taken from inputs."""

    new: Mapping[str, bytes]
    taken: Mapping[str, Taken] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """An input tree: the read-only folder that shows it, and its manifest.

    The manifest spares a host step from reading a file to know its digest.
    """

    folder: Path
    tree: Tree


Inputs: TypeAlias = Mapping[str, Input]

Params: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class HostStep:
    """A host function and the revision of what it writes."""

    function: Callable[[Inputs, Params], Result]
    revision: int
