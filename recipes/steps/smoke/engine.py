"""Which vLLM is installed beside this step, without importing it."""

import sys
from pathlib import Path

from recipes.formats.step import Exit, StepError

_MARK = "vllm-*.dist-info"


def version() -> str:
    """Return the version of the installed vLLM. Raises StepError when there is none."""
    found = (mark for folder in sys.path if folder for mark in sorted(Path(folder).glob(_MARK)))
    for mark in found:
        return mark.name.removesuffix(".dist-info").partition("-")[2]
    raise StepError("there is no vLLM beside this step, so it cannot serve", Exit.ENVIRONMENT)
