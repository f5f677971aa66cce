"""Master and ``calibration.json`` → NVFP4 body, a function of the two alone.

Two exporters give the same bytes for every tensor: ``stream`` packs a fused group at a
time and needs no model; ``modelopt`` is the program whose bytes these are, and needs the
whole model in memory.
"""

from enum import StrEnum

from recipes.formats.precision import read_precision
from recipes.formats.step import Exit, StepError, Workdir


class Exporter(StrEnum):
    """Who writes the body."""

    STREAM = "stream"
    MODELOPT = "modelopt"


def main(work: Workdir) -> None:
    """Write the NVFP4 body that follows from the master and its calibration."""
    precision, max_shard_size = read_precision(work), str(work.param("max_shard_size", str))
    # Each is imported where it is chosen: torch and modelopt take seconds to load.
    match _exporter(work):
        case Exporter.STREAM:
            from recipes.steps.quantize import stream

            stream.export(work, precision, max_shard_size, gpu=_gpu(work))
        case Exporter.MODELOPT:
            from recipes.steps.quantize.modelopt.export import export

            export(work, precision, max_shard_size)


def _gpu(work: Workdir) -> bool:
    """Whether a benchmark asks for the GPU's kernel; a release does not, and no key holds it."""
    return "gpu" in work.params and bool(work.param("gpu", bool))


def _exporter(work: Workdir) -> Exporter:
    named = str(work.param("exporter", str))
    if named not in list(Exporter):
        raise StepError(f"params.json: exporter: expected stream or modelopt, got {named}", Exit.CONFIG)
    return Exporter(named)
