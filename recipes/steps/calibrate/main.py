"""Measure input ranges: rows → tokens → the master's layers → one range a fused group.

Result: ``calibration.json`` and ``evidence.json``. Nothing is quantized on the way: the
ranges are those of BF16 activations, max |input| as modelopt's own calibration takes it,
which tests hold it against bit for bit. modelopt itself is not needed for that: its
layer-wise way keeps the hidden states of every layer on the disk, and loses ranges where
a cache is used.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import transformers

from recipes.chats.rows import ROWS_FILE, Row, read_rows
from recipes.chats.tokens import Tokens
from recipes.formats import calibration, evidence, nvfp4
from recipes.formats.calibration import Calibration, Range
from recipes.formats.master import Master, open_master
from recipes.formats.precision import Precision, read_precision
from recipes.formats.step import Exit, StepError, Workdir
from recipes.formats.unfinished import folder_of_this_boot
from recipes.layerwise.decoder import Decoder
from recipes.layerwise.kernels import linear_attention_kernels
from recipes.steps.calibrate.peaks import Peaks, measure

LAYERS = "layers"


def main(work: Workdir) -> None:
    """Write the activation ranges of the master over the calibration rows."""
    precision = read_precision(work)
    samples, length = _positive(work, "samples"), _positive(work, "max_seq_len")
    licence = str(work.param("rows_license", str))
    rows = read_rows(work.input("rows") / ROWS_FILE, samples)
    master = open_master(work.input("master"))
    tokens = Tokens(work.input("master"), work.input("chat_template"))
    batches = [tokens.of_chat(row)[:length] for row in rows]
    ranges, facts = _measured(work, master, batches, precision)
    result = Calibration(
        ranges=ranges,
        rows=len(rows),
        tokens=sum(len(tokens) for tokens in batches),
        max_seq_len=length,
        versions=_versions(),
    )
    work.new(calibration.CALIBRATION_FILE).write_text(calibration.dump(result))
    found = evidence.Evidence(facts={**_rows(result, rows, licence), **facts})
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(found))


def _measured(
    work: Workdir, master: Master, batches: list[list[int]], precision: Precision
) -> tuple[tuple[Range, ...], dict[str, object]]:
    """Return the ranges, and what is to be known of how they were taken."""
    if not precision.packs_activations:
        return (), {"device": "none: activations stay BF16, and need no range"}
    decoder = Decoder(master, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    kernels = linear_attention_kernels(decoder, allowed=bool(work.param("slow_linear_attention", bool)))
    peaks = measure(decoder, batches, folder_of_this_boot(work, LAYERS))
    ranges = tuple(_ranges(peaks, master, precision))
    return ranges, _facts(ranges, kernels)


def _positive(work: Workdir, name: str) -> int:
    value = work.param(name, int)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise StepError(f"params.json: {name}: expected a number above 0, got {value}", Exit.CONFIG)
    return value


def _ranges(peaks: Peaks, master: Master, precision: Precision) -> Iterator[Range]:
    for members in precision.groups(master.layout):
        amax = max(_positive_peak(name, peaks) for name in members)
        scale = float(nvfp4.input_scale(np.float32(amax)))
        yield Range(members=members, input_amax=amax, input_scale=scale)


def _positive_peak(name: str, peaks: Peaks) -> float:
    """Return the range of Linear ``name``. Raises StepError where no scale follows from it.

    modelopt warns there, and exports a scale that nobody measured.
    """
    peak = peaks.get(name, math.nan)
    if not (math.isfinite(peak) and peak > 0):
        raise StepError(f"{name}: input range is {peak}; add rows that reach this module", Exit.CONFIG)
    return peak


def _rows(result: Calibration, rows: list[Row], licence: str) -> dict[str, object]:
    return {
        "calibration_rows": result.rows,
        "calibration_tokens": result.tokens,
        "calibration_max_seq_len": result.max_seq_len,
        "calibration_row_ids": [row.id for row in rows],
        "calibration_rows_license": licence,
        "fused_groups": len(result.ranges),
        "versions": dict(result.versions),
    }


def _facts(ranges: tuple[Range, ...], kernels: str) -> dict[str, object]:
    scales = [group.input_scale for group in ranges]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "input_scale_min": min(scales),
        "input_scale_max": max(scales),
        "linear_attention_kernels": kernels,
        "device": gpu or "cpu",
    }


def _versions() -> dict[str, str]:
    """Return the versions of the packages that decide the result."""
    return {"torch": str(torch.__version__), "transformers": str(transformers.__version__)}
