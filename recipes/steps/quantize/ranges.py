"""The calibration, held against what the recipe quantizes: every module has its range, and no other."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from recipes.formats import calibration, nvfp4
from recipes.formats.calibration import Calibration
from recipes.formats.precision import Precision
from recipes.formats.qwen3_5 import Layout
from recipes.formats.step import Exit, StepError


def read_ranges(folder: Path, precision: Precision, layout: Layout) -> Calibration:
    """Read ``calibration.json`` in ``folder``; its modules must be those that ``precision`` packs.

    With BF16 activations there are none. Raises StepError naming the first module that has
    no range, or one too many.
    """
    expected = precision.modules(layout) if precision.packs_activations else frozenset()
    try:
        found = calibration.read(folder / calibration.CALIBRATION_FILE)
    except ValueError as error:
        raise StepError(f"calibration: {error}", Exit.CONFIG) from error
    for name in sorted(found.amax_of().keys() ^ expected):
        flaw = "has no range" if name in expected else "has a range, but the recipe gives it no input scale"
        raise StepError(f"{name}: {flaw} in the calibration; calibrate again", Exit.CONFIG)
    return found


def input_scales(
    found: Calibration, groups: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], np.float32]:
    """Return fused group → input_scale, the calibration's own float32.

    Raises StepError when members of a group have different scales, or one that does not
    follow from its range: modelopt's exporter takes the range, so the two would differ.
    """
    scale_of = {name: np.float32(r.input_scale) for r in found.ranges for name in r.members}
    amax_of = found.amax_of()
    for group in groups:
        for name in group:
            expected = nvfp4.input_scale(np.float32(max(amax_of[member] for member in group)))
            if scale_of[name] != expected:
                flaw = f"input_scale {scale_of[name]!s} does not follow from its group's range ({expected!s})"
                raise StepError(f"{name}: {flaw}; calibrate again", Exit.CONFIG)
    return {group: scale_of[group[0]] for group in groups}
