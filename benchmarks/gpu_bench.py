"""Where a run of the GPU benchmarks keeps its things, and what it is asked for."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks import synthetic

PROJECT = Path(__file__).parents[1]
TINY = PROJECT / "recipes" / "tiny"
TEMPLATES = PROJECT / "recipes" / "templates"
PRECISION = {"in_proj_ab": "nvfp4", "linear_attention": "nvfp4", "activations": "nvfp4"}
SAMPLING = {"temperature": 0.7, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.0}
SIZES = {"27b": synthetic.FLAGSHIP, "small": synthetic.MINIATURE}

Figures = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a run keeps its things, and what it is asked for."""

    work: Path
    size: str
    device: str

    @property
    def dimensions(self) -> synthetic.Size:
        """The text model's dimensions."""
        return SIZES[self.size]

    @property
    def gpu(self) -> bool:
        """Whether the GPU is used."""
        return self.device == "cuda"

    @property
    def sources(self) -> Path:
        """The folder of master, base and rows; a link to where there is room."""
        return self.work / "sources"

    def step(self, name: str) -> Path:
        """Return the work folder of a step."""
        return self.work / "steps" / name


def environment() -> dict[str, str]:
    """Return the environment of this process."""
    return dict(os.environ)


def calibrate_params(samples: int, length: int) -> Figures:
    """Return the parameters of the calibrate step."""
    # The machines this is for lack flash-linear-attention.
    slow = {"slow_linear_attention": True, "rows_license": "Apache-2.0"}
    return {**PRECISION, **slow, "samples": samples, "max_seq_len": length}


def quantize_params(max_shard_size: str, *, gpu: bool) -> Figures:
    """Return the parameters of the quantize step."""
    return {
        **PRECISION,
        "exporter": "stream",
        "max_shard_size": max_shard_size,
        "gpu": gpu,
    }


def configure_params() -> Figures:
    """Return the parameters of the configure step, for a packed tree."""
    return {"quantized": True, "sampling": SAMPLING}
