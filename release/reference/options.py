"""The words of options, said once for every task that has them."""

import functools
import inspect
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

FILE = Path(__file__).with_name("options.toml")


def words(function: Callable[..., object]) -> dict[str, str]:
    """Return what each parameter of a task means, by name; one without words is left out."""
    known, task = _known(), function.__name__.replace("_", "-")
    found = {}
    for name in inspect.signature(function).parameters:
        said = known.get(f"{task}.{name}", known.get(name))
        if said is not None:
            found[name] = said
    return found


@functools.cache
def _known() -> Mapping[str, str]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))
