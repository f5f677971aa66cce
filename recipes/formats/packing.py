"""How a checkpoint names the tensors of a packed Linear: modelopt's way or compressed-tensors'.

    scheme = scheme_of(checkpoint.tensors)
    scheme.shapes(10240, 5120)[scheme.codes]     # ("U8", (10240, 2560))

    modelopt              weight         weight_scale   weight_scale_2        input_scale
    compressed-tensors    weight_packed  weight_scale   weight_global_scale   input_global_scale

Codes and block scales are laid out alike. The global scales of compressed-tensors are the
reciprocals of modelopt's, and one number long instead of a scalar.
https://github.com/vllm-project/compressed-tensors
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recipes.formats import nvfp4

WEIGHT = "weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """The names of a packed Linear's tensors. ``scalar`` is the shape of a global scale."""

    name: str
    codes: str
    block_scales: str
    global_scale: str
    input_scale: str
    scalar: tuple[int, ...]
    reciprocal: bool

    @property
    def scales(self) -> frozenset[str]:
        """The leaves that hold scales."""
        return frozenset({self.block_scales, self.global_scale, self.input_scale})

    def tensors(
        self, rows: int, columns: int, *, activations: bool
    ) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return leaf → (dtype, shape) for a weight [rows, columns].

        Without ``activations`` only weights are quantized, and there is no input scale.
        """
        found = {
            self.codes: ("U8", (rows, columns // 2)),
            self.block_scales: ("F8_E4M3", (rows, columns // nvfp4.GROUP_SIZE)),
            self.global_scale: ("F32", self.scalar),
        }
        return found | ({self.input_scale: ("F32", self.scalar)} if activations else {})


MODELOPT = Scheme(
    name="modelopt",
    codes=nvfp4.WEIGHT,
    block_scales=nvfp4.WEIGHT_SCALE,
    global_scale=nvfp4.WEIGHT_SCALE_2,
    input_scale=nvfp4.INPUT_SCALE,
    scalar=(),
    reciprocal=False,
)
COMPRESSED_TENSORS = Scheme(
    name="compressed-tensors",
    codes="weight_packed",
    block_scales="weight_scale",
    global_scale="weight_global_scale",
    input_scale="input_global_scale",
    scalar=(1,),
    reciprocal=True,
)
SCHEMES: Mapping[str, Scheme] = {scheme.name: scheme for scheme in (MODELOPT, COMPRESSED_TENSORS)}


def scheme_of(names: Iterable[str]) -> Scheme:
    """Return the scheme that a checkpoint with tensors ``names`` is packed in."""
    packed = any(name.endswith(f".{COMPRESSED_TENSORS.codes}") for name in names)
    return COMPRESSED_TENSORS if packed else MODELOPT
