"""The oracle: modelopt's own exporter, with the model in memory.

No data is run through the model: each input quantizer is handed its published range, so
the result is a function of the two inputs alone. modelopt exports "NVFP4" without input
scales, and with NaN scales for a weight of zeros, and says nothing; both end here.
"""

import shutil
from pathlib import Path

import torch
from modelopt.torch.export import export_hf_checkpoint
from torch import nn

from recipes.formats import nvfp4, progress
from recipes.formats.checkpoint import is_weight_file, open_checkpoint
from recipes.formats.master import open_master, require_bf16
from recipes.formats.nvfp4 import INPUT_SCALE
from recipes.formats.precision import Precision
from recipes.formats.step import StepError, Workdir
from recipes.steps.quantize.configs import CONFIG_FILES
from recipes.steps.quantize.modelopt import model as quantized
from recipes.steps.quantize.ranges import read_ranges

EXPORT_FOLDER = ".export"


def export(work: Workdir, precision: Precision, max_shard_size: str) -> None:
    """Write the body by ``export_hf_checkpoint``."""
    master = open_master(work.input("master"))
    require_bf16(master)
    ranges = read_ranges(work.input("calibration"), precision, master.layout).amax_of()
    progress.update("load the master")
    model = quantized.load_model(master.folder)
    modules = quantized.insert_quantizers(model, master.layout, precision)
    if precision.packs_activations:
        _set_ranges(modules, ranges)
    _check_weights(modules)
    folder = _fresh_folder(work)
    progress.update("export")
    with quantized.zero_ranges_refused(), torch.inference_mode():
        export_hf_checkpoint(model, export_dir=folder, max_shard_size=max_shard_size)
    check_export(folder, sorted(modules), activations=precision.packs_activations)
    _keep_files(work, folder)


def check_export(folder: Path, modules: list[str], *, activations: bool) -> None:
    """Check that each of ``modules`` has its tensors: four with ``activations``, else three.

    Raises StepError naming the first tensor that is missing or of another dtype.
    """
    try:
        tensors = open_checkpoint(folder).tensors
    except ValueError as error:
        raise StepError(f"modelopt wrote a checkpoint that cannot be read: {error}") from error
    for module in modules:
        for leaf, dtype in nvfp4.DTYPES.items():
            wanted = dtype if activations or leaf != INPUT_SCALE else None
            location = tensors.get(f"{module}.{leaf}")
            got = None if location is None else location.tensor.dtype
            if got != wanted:
                raise StepError(f"{module}.{leaf}: modelopt's export: expected {wanted}, got {got}")


def _set_ranges(modules: dict[str, nn.Module], ranges: dict[str, float]) -> None:
    for name, module in modules.items():
        device = module.weight.device
        module.input_quantizer.amax = torch.tensor(ranges[name], dtype=torch.float32, device=device)


def _check_weights(modules: dict[str, nn.Module]) -> None:
    for name, module in modules.items():
        amax, columns = float(module.weight_quantizer.amax.float()), module.weight.shape[-1]
        if not 0 < amax < float("inf"):
            raise StepError(f"{name}.weight: expected finite weights that are not all zero, got {amax}")
        if columns % nvfp4.GROUP_SIZE:
            raise StepError(f"{name}.weight: in_features {columns} is no multiple of {nvfp4.GROUP_SIZE}")


def _fresh_folder(work: Workdir) -> Path:
    # Below out/, so that keeping a file is a rename and never a copy of 50 GB.
    folder = work.root / "out" / EXPORT_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _keep_files(work: Workdir, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.name in CONFIG_FILES or is_weight_file(path.name):
            path.rename(work.new(path.name))
    shutil.rmtree(folder)
