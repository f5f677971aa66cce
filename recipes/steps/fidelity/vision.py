"""The vision tower's output on images that are made here, master against release.

Text never reaches the tower, so the divergence of text says nothing of it. A tower that was left
alone gives an error of exactly 0.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from recipes.formats.master import Master
from recipes.formats.qwen3_5 import VISION_PREFIX
from recipes.layerwise.packed import PackedLinears
from recipes.layerwise.weights import Weights, fill

GRID = 8
"""Patches along each side of an image."""

Plane = npt.NDArray[np.float32]

# Each gives brightness -1 .. 1 at x, y in 0 .. 1; the three colours see it shifted.
IMAGES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "ramp": lambda x, y: x + y - 1,
    "board": lambda x, y: np.sign(np.sin(25 * x) * np.sin(25 * y)),
    "disc": lambda x, y: np.where((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.09, 0.9, -0.7),
    "rings": lambda x, y: np.cos(60 * np.hypot(x - 0.3, y - 0.6)),
}


Side = tuple[Master, PackedLinears | None]


def errors(master: Side, release: Side, device: torch.device) -> dict[str, float]:
    """Return image → |release - master| / |master| of the tower's merged output (Frobenius norms).

    Nothing for a model without a tower.
    """
    if not any(name.startswith(VISION_PREFIX) for name in master[0].checkpoint.tensors):
        return {}
    ours = _outputs(*master, device)
    theirs = _outputs(*release, device)
    return {name: float((theirs[name] - ours[name]).norm() / ours[name].norm()) for name in ours}


def _outputs(model: Master, packed: PackedLinears | None, device: torch.device) -> dict[str, torch.Tensor]:
    # One tower at a time: a name of the caller's would hold both.
    config = AutoConfig.from_pretrained(model.folder, local_files_only=True).vision_config
    tower: nn.Module = AutoModel.from_config(config, dtype=torch.bfloat16)
    found = Weights(model).below(VISION_PREFIX)
    if packed is not None:
        packed(tower, VISION_PREFIX, found)
    fill(tower, VISION_PREFIX, found)
    tower = tower.to(device).eval()
    grid = torch.tensor([[1, GRID, GRID]], device=device)
    with torch.inference_mode():
        return {
            name: tower(_patches(draw, config).to(device), grid_thw=grid).pooler_output.double().cpu()
            for name, draw in IMAGES.items()
        }


def _patches(draw: Callable[[Plane, Plane], Plane], config: object) -> torch.Tensor:
    """Return an image as the processor lays it out: [patches, channels * frames * side * side]."""
    side, merge, frames = (
        int(getattr(config, name)) for name in ("patch_size", "spatial_merge_size", "temporal_patch_size")
    )
    y, x = np.mgrid[0 : GRID * side, 0 : GRID * side].astype(np.float32) / np.float32(GRID * side)
    image = np.stack([draw((x + shift) % 1, y) for shift in (0.0, 0.1, 0.2)]).astype(np.float32)
    blocks = GRID // merge
    cut = image.reshape(3, blocks, merge, side, blocks, merge, side).transpose(1, 4, 2, 5, 0, 3, 6)
    still = np.repeat(cut[:, :, :, :, :, None], frames, axis=5)
    return torch.from_numpy(still.reshape(GRID * GRID, -1).copy()).to(torch.bfloat16)
