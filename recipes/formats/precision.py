"""What a recipe asks to pack. Rules, ignore list, byte budget and proofs follow from it.

    precision = parse_precision({"in_proj_ab": "bf16", "linear_attention": "nvfp4", "activations": "nvfp4"})
    precision.groups(layout)      # the fused groups that are packed

Every option is "nvfp4" or "bf16"; each is a question on which published builds differ:

    in_proj_ab          the small gates of linear attention, 48 outputs each in 27B
    linear_attention    every Linear of linear attention, the gates among them
    activations         "nvfp4" is W4A4, with an input scale a fused group; "bf16" is W4A16
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from recipes.formats.qwen3_5 import Layout, is_linear_attention
from recipes.formats.step import Exit, StepError, Workdir


class Storage(StrEnum):
    """How numbers are stored."""

    NVFP4 = "nvfp4"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """The options of a recipe. Output head, embedding, draft head and vision tower are always BF16."""

    in_proj_ab: Storage
    linear_attention: Storage
    activations: Storage

    @property
    def packs_activations(self) -> bool:
        """Whether activations are quantized too, so that each fused group has an input scale."""
        return self.activations is Storage.NVFP4

    @property
    def algorithm(self) -> str:
        """What modelopt and the engines that read it call this, beside the ignore list."""
        return "NVFP4" if self.packs_activations else "W4A16_NVFP4"

    def groups(self, layout: Layout) -> tuple[tuple[str, ...], ...]:
        """Return the fused groups of modules that are packed, sorted."""
        groups = layout.fused_groups(in_proj_ab=self.in_proj_ab is Storage.NVFP4)
        if self.linear_attention is Storage.NVFP4:
            return groups
        return tuple(group for group in groups if not is_linear_attention(group[0]))

    def modules(self, layout: Layout) -> frozenset[str]:
        """Return the names of the modules that are packed."""
        return frozenset(name for group in self.groups(layout) for name in group)

    def kept(self, layout: Layout) -> tuple[str, ...]:
        """Return the names of the body's Linears that stay BF16, sorted."""
        packed = self.modules(layout)
        return tuple(name for name in layout.body_linears() if name not in packed)


OPTIONS = tuple(Precision.__dataclass_fields__)


def parse_precision(table: Mapping[str, object], where: str) -> Precision:
    """Read the options. Raises ValueError naming ``where`` and the key."""
    precision = Precision(**{key: _storage(table, key, where) for key in OPTIONS})
    if precision.linear_attention is Storage.BF16 and precision.in_proj_ab is Storage.NVFP4:
        raise ValueError(
            f"{where}: in_proj_ab: expected 'bf16', as linear_attention, which holds the gates, got 'nvfp4'"
        )
    return precision


def read_precision(work: Workdir) -> Precision:
    """Read the options from a step's parameters. Raises StepError naming the key."""
    try:
        return parse_precision(work.params, "params.json")
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error


def _storage(table: Mapping[str, object], key: str, where: str) -> Storage:
    value = table.get(key)
    if not isinstance(value, str) or value not in list(Storage):
        raise ValueError(
            f"{where}: {key}: expected {' or '.join(map(repr, map(str, Storage)))}, got {value!r}"
        )
    return Storage(value)
