"""Measure input ranges: rows → tokens → the master's forward pass → one range a fused group.

Result: ``calibration.json`` and ``evidence.json``. Nothing is quantized on the way: the
ranges are those of BF16 activations. The forward pass runs without a cache, since
modelopt's layer-wise path loses ranges with one, and without logits, which nobody reads.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer

from recipes.formats import calibration, evidence, nvfp4, progress
from recipes.formats.calibration import Calibration, Range
from recipes.formats.qwen3_5 import Layout
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.calibrate.rows import ROWS_FILE, Row, read_rows
from recipes.steps.modelopt_nvfp4 import model as quantized
from recipes.steps.modelopt_nvfp4.master import load_layout
from recipes.steps.modelopt_nvfp4.rules import InProjAb, Rules, parse_rules

TEMPLATE_FILE = "chat_template.jinja"


def main(work: Workdir) -> None:
    """Write the activation ranges of the master over the calibration rows."""
    rules, samples, length = parse_rules(work), _positive(work, "samples"), _positive(work, "max_seq_len")
    rows = read_rows(work.input("rows") / ROWS_FILE, samples)
    layout = load_layout(work.input("master"))
    batches = [tokens[:length] for tokens in tokenize(work, rows)]
    progress.update("load the master")
    model = quantized.load_model(work.input("master"))
    with quantized.zero_ranges_refused():
        modules = quantized.insert_quantizers(model, layout, rules, _forward(batches))
    result = Calibration(
        ranges=tuple(_ranges(modules, layout, rules)),
        rows=len(rows),
        tokens=sum(len(tokens) for tokens in batches),
        max_seq_len=length,
        versions=quantized.versions(),
    )
    work.new(calibration.CALIBRATION_FILE).write_text(calibration.dump(result))
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(_evidence(result, rows)))


def tokenize(work: Workdir, rows: Iterable[Row]) -> Iterator[list[int]]:
    """Yield the token ids of each row, rendered by the locked chat template.

    Raises StepError for a row that the template refuses or that has no token.
    """
    tokenizer = AutoTokenizer.from_pretrained(work.input("master"), local_files_only=True)
    template = (work.input("chat_template") / TEMPLATE_FILE).read_text(encoding="utf-8")
    for row in rows:
        switches = {} if row.thinking is None else {"enable_thinking": row.thinking}
        try:
            text = tokenizer.apply_chat_template(
                list(row.messages),
                tools=row.tools,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=row.wants_reply,
                **switches,
            )
        except Exception as error:  # Jinja raises its own classes, and what the template raises.
            raise StepError(
                f"{ROWS_FILE}: {row.id}: the template refused it: {error}", Exit.CONFIG
            ) from error
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not tokens:
            raise StepError(f"{ROWS_FILE}: {row.id}: no token to run", Exit.CONFIG)
        yield tokens


def _positive(work: Workdir, name: str) -> int:
    value = work.param(name, int)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise StepError(f"params.json: {name}: expected a number above 0, got {value}", Exit.CONFIG)
    return value


def _forward(batches: list[list[int]]) -> Callable[[nn.Module], None]:
    def forward(model: nn.Module) -> None:
        device = next(model.parameters()).device
        for done, tokens in enumerate(batches, 1):
            ids = torch.tensor([tokens], device=device)
            with torch.inference_mode():
                model(input_ids=ids, use_cache=False, logits_to_keep=1)
            progress.update("calibrate", done, len(batches), "rows")

    return forward


def _ranges(modules: dict[str, nn.Module], layout: Layout, rules: Rules) -> Iterator[Range]:
    for members in layout.fused_groups(in_proj_ab=rules.in_proj_ab is InProjAb.NVFP4):
        amax = max(_input_amax(name, modules[name]) for name in members)
        scale = float(nvfp4.input_scale(np.float32(amax)))
        yield Range(members=members, input_amax=amax, input_scale=scale)


def _input_amax(name: str, module: nn.Module) -> float:
    measured = module.input_quantizer.amax
    amax = math.nan if measured is None else float(measured.float())
    if not (math.isfinite(amax) and amax > 0):
        raise StepError(f"{name}: input range is {amax}; add rows that reach this module", Exit.CONFIG)
    return amax


def _evidence(result: Calibration, rows: list[Row]) -> evidence.Evidence:
    scales = [group.input_scale for group in result.ranges]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return evidence.Evidence(
        facts={
            "calibration_rows": result.rows,
            "calibration_tokens": result.tokens,
            "calibration_max_seq_len": result.max_seq_len,
            "calibration_row_ids": [row.id for row in rows],
            "fused_groups": len(scales),
            "input_scale_min": min(scales),
            "input_scale_max": max(scales),
            "device": gpu or "cpu",
            "versions": dict(result.versions),
        }
    )
