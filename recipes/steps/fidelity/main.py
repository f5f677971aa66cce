"""How far the release is from its master: both run over the recipe's pinned texts, a layer at a time.

Result: ``evidence.json`` with the figures, ``rows.jsonl`` with the sums of each row, of which
gates draw their intervals, and ``worst.jsonl`` with the positions that differ most.

First the master runs through all layers, then the release as an engine computes it; each leaves
its last hidden states in the step's state, and the output heads compare them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from recipes.chats.tokens import Tokens
from recipes.formats import evidence, progress
from recipes.formats.evidence import Measurement
from recipes.formats.master import Master, open_master
from recipes.formats.proofs.subject import Body, read_body, read_tree
from recipes.formats.step import Exit, StepError, Workdir
from recipes.formats.unfinished import folder_of_this_boot
from recipes.layerwise.decoder import Decoder
from recipes.layerwise.kernels import linear_attention_kernels
from recipes.layerwise.packed import PackedLinears
from recipes.layerwise.states import read_row
from recipes.layerwise.streaming import stream
from recipes.steps.fidelity import figures, vision
from recipes.steps.fidelity.heads import ROUNDING, Compared, compare, open_head
from recipes.steps.fidelity.rows import ROWS_FILE, Tokenized, read_samples, tokenize
from recipes.steps.fidelity.worst import worst

MASTER, RELEASE = "master", "nvfp4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model, ready to run. ``body`` and ``packed`` are None where nothing is packed."""

    decoder: Decoder
    body: Body | None
    packed: PackedLinears | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Both models."""

    master: Model
    release: Model


def main(work: Workdir) -> None:
    """Write how far the release's next-token distributions and vision tower are from the master's."""
    length, licence = _length(work), str(work.param("rows_license", str))
    models = _open(work)
    kernels = linear_attention_kernels(
        models.master.decoder, allowed=bool(work.param("slow_linear_attention", bool))
    )
    tokens = Tokens(work.input(RELEASE), work.input(RELEASE))
    rows = tokenize(read_samples(work.input("rows") / ROWS_FILE), tokens, length)
    compared = _compared(work, models, rows)
    seen = _vision(models)
    measured = (*figures.measurements(rows, compared), *seen)
    facts = {
        **figures.facts(rows, compared),
        **_facts(models),
        "linear_attention_kernels": kernels,
        "max_seq_len": length,
        "rows_license": licence,
    }
    found = evidence.Evidence(measurements=measured, facts=facts)
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(found))
    work.new(figures.SUMS_FILE).write_text(figures.sums(rows, compared), encoding="utf-8")
    work.new("worst.jsonl").write_text(worst(rows, compared, tokens), encoding="utf-8")


def _length(work: Workdir) -> int:
    value = work.param("max_seq_len", int)
    if not isinstance(value, int) or isinstance(value, bool) or value < 2:
        raise StepError(f"params.json: max_seq_len: expected a number above 1, got {value}", Exit.CONFIG)
    return value


def _open(work: Workdir) -> Models:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    master, release = (_model(open_master(work.input(name)), device) for name in (MASTER, RELEASE))
    ours, theirs = master.decoder.model.layout, release.decoder.model.layout
    if (ours.layers, ours.hidden) != (theirs.layers, theirs.hidden):
        raise StepError("master and release are models of different layers", Exit.CONFIG)
    return Models(master=master, release=release)


def _model(opened: Master, device: torch.device) -> Model:
    body = read_body(read_tree(opened.folder, opened.folder.name))
    if body.eight_bit:
        raise StepError(
            f"{body.eight_bit[0]}: FP8 weights; how an engine computes them is not known here", Exit.CONFIG
        )
    if not body.modules:
        return Model(decoder=Decoder(opened, device), body=None, packed=None)
    packed = PackedLinears(body, device)
    return Model(decoder=Decoder(opened, device, packed), body=body, packed=packed)


def _compared(work: Workdir, models: Models, rows: Sequence[Tokenized]) -> list[Compared]:
    batches = [list(row.tokens) for row in rows]
    left: dict[str, Path] = {}
    for name, model in ((MASTER, models.master), (RELEASE, models.release)):
        folder = folder_of_this_boot(work, name)
        left[name] = stream(model.decoder, batches, folder, name, batched=True)
    progress.update("compare", 0, len(rows), "rows")
    ours, theirs = (open_head(model.decoder, model.packed) for model in (models.master, models.release))
    theirs.share(ours)
    decoder = models.master.decoder
    hidden, device = decoder.model.layout.hidden, decoder.device
    found = []
    for number, row in enumerate(rows):
        mine, other = (read_row(left[name], number, hidden).to(device) for name in (MASTER, RELEASE))
        found.append(compare(ours, theirs, mine, other, list(row.tokens)))
        if not np.isfinite(found[-1].kl).all():
            raise StepError(f"{row.id}: a model gives NaN, and no divergence", Exit.PROOF)
        progress.update("compare", number + 1, len(rows), "rows")
    return found


def _vision(models: Models) -> tuple[Measurement, ...]:
    progress.update("vision")
    ours, theirs = ((model.decoder.model, model.packed) for model in (models.master, models.release))
    found = vision.errors(ours, theirs, models.master.decoder.device)
    if not found:
        return ()
    how = f"largest |release - master| / |master| of the tower's output over {', '.join(found)}"
    return (
        Measurement(
            name="vision_relative_error", value=max(found.values()), unit="share", n=len(found), how=how
        ),
    )


def _facts(models: Models) -> dict[str, object]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    body = models.release.body
    return {
        "computed_as": "BF16" if body is None else "W4A4" if body.activations else "W4A16",
        "kl_off_by_at_most": ROUNDING,
        "device": gpu or "cpu",
        "versions": {"torch": str(torch.__version__), "transformers": str(transformers.__version__)},
    }
