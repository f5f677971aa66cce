"""``calibration.json``: the activation range of each fused group, as published with a release.

    {"format": 1, "groups": [{"members": ["model.language_model.layers.0.mlp.down_proj"],
    "input_amax": 3.5, "input_scale": 0.0013020833721384406}], "rows": 20, ...}

Figures are exact float32 values. The published weights follow from the BF16 master and
this file alone.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import strict_json

CALIBRATION_FILE = "calibration.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The largest absolute input of a fused group, float32, and the scale that follows from it."""

    members: tuple[str, ...]
    input_amax: float
    input_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One calibration: ranges, and what they were taken from. ``tokens`` counts all rows."""

    ranges: tuple[Range, ...]
    rows: int
    tokens: int
    max_seq_len: int
    versions: Mapping[str, str]

    def amax_of(self) -> dict[str, float]:
        """Return module name → input_amax."""
        return {name: group.input_amax for group in self.ranges for name in group.members}


def dump(calibration: Calibration) -> str:
    """Return ``calibration`` as JSON text, groups sorted by their members."""
    groups = [
        {"members": list(r.members), "input_amax": r.input_amax, "input_scale": r.input_scale}
        for r in sorted(calibration.ranges, key=lambda r: r.members)
    ]
    return strict_json.dumps(
        {
            "format": FORMAT,
            "groups": groups,
            "rows": calibration.rows,
            "tokens": calibration.tokens,
            "max_seq_len": calibration.max_seq_len,
            "versions": dict(calibration.versions),
        }
    )


def read(path: Path) -> Calibration:
    """Read the file ``path``.

    Raises ValueError for another format, a module in two groups, or a range that is not
    a positive finite float32; names the module.
    """
    data = strict_json.read_table(path)
    match data:
        case {
            "format": 1,
            "groups": [*groups],
            "rows": int(rows),
            "tokens": int(tokens),
            "max_seq_len": int(length),
            "versions": dict(versions),
        }:
            ranges = tuple(_parse_range(group) for group in groups)
        case _:
            raise ValueError(f"{path.name}: expected format {FORMAT} with groups, rows, tokens and versions")
    names = [name for group in ranges for name in group.members]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"{path.name}: {twins[0]} is in two groups")
    return Calibration(
        ranges=ranges,
        rows=rows,
        tokens=tokens,
        max_seq_len=length,
        versions={key: str(value) for key, value in versions.items()},
    )


def _parse_range(group: object) -> Range:
    match group:
        case {"members": [str(first), *rest], "input_amax": float(amax), "input_scale": float(scale)}:
            members = (first, *(str(name) for name in rest))
        case _:
            raise ValueError(f"{CALIBRATION_FILE}: expected members, input_amax and input_scale, got {group}")
    for figure in (amax, scale):
        if not (math.isfinite(figure) and figure > 0 and _is_float32(figure)):
            raise ValueError(f"{CALIBRATION_FILE}: {first}: expected a positive float32, got {figure}")
    return Range(members=members, input_amax=amax, input_scale=scale)


def _is_float32(value: float) -> bool:
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return False
    return bool(rounded == value)
