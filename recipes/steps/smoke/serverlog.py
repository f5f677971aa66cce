"""What the server's log says about how it serves: the kernel it chose, and its doubts. Pure."""

import re
from collections.abc import Sequence

from recipes.formats.step import Exit, StepError

_KERNEL = re.compile(r"Using (\w+) for NVFP4 GEMM")

# Lines of a run that measured something else than was asked for.
_DOUBTS = (
    re.compile(r"Unknown vLLM environment variable.*"),
    re.compile(r"Failed to load plugin.*"),
    re.compile(r".*(?:[Tt]runcat|[Cc]lipp)\w* .*(?:capture|cudagraph).*"),
    re.compile(r"Setting \S+ to (?:disable|False).*[Ss]peculative.*"),
    re.compile(r".*does not have native support for FP4.*"),
    re.compile(r".*linear.backend.*(?:falling back|not available).*", re.IGNORECASE),
)
_PREFIX = re.compile(r"^.*?\b(?:WARNING|ERROR) \S+ \S+ \[[^\]]+\] ")


def kernel(log: str) -> str | None:
    """Return the NVFP4 kernel that was chosen, None when no layer is NVFP4.

    Different layers may get different kernels; then all are named.
    """
    return ", ".join(sorted(set(_KERNEL.findall(log)))) or None


def require_kernel(log: str, expected: str) -> None:
    """Raise StepError unless every chosen kernel's line holds ``expected``.

    An engine that cannot use the wanted kernel takes another one without an error,
    and names the wanted one only among the reasons.
    """
    lines = [match[0] for match in _KERNEL.finditer(log)]
    if lines and all(expected in line for line in lines):
        return
    raise StepError(
        f"{expected!r} was expected to serve the NVFP4 layers, but the server's log names "
        f"{kernel(log) or 'no NVFP4 kernel at all'}. Another kernel has other arithmetic and another speed, "
        "so no figure of this run may be used. Correct expect_kernel or the backend flag in recipe.toml",
        Exit.PROOF,
    )


def doubts(log: str) -> Sequence[str]:
    """Return the distinct warnings that bear on what was measured, without their prefix."""
    lines = (
        _PREFIX.sub("", line).strip() for line in log.splitlines() if "WARNING" in line or "ERROR" in line
    )
    return sorted({line[:300] for line in lines if any(doubt.match(line) for doubt in _DOUBTS)})
