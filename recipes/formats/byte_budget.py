"""How many bytes each tree of a release will have, from headers and options: known before the build.

    budget = plan_byte_budget(master, base, parse_layout(config), precision)
    budget.nvfp4[Kind.MLP], sum(budget.master.values())

Bytes of tensors, without the headers of files: what the ledger counts after the build.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipes.formats.checkpoint import Checkpoint
from recipes.formats.nvfp4 import WEIGHT, check_matrix
from recipes.formats.packing import MODELOPT
from recipes.formats.precision import Precision
from recipes.formats.qwen3_5 import MTP_PREFIX, Kind, Layout, kind_of, module_of
from recipes.formats.safetensors import ITEM_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteBudget:
    """Class of module → bytes of tensors, for both trees. ``packed`` counts the packed Linears."""

    nvfp4: Mapping[Kind, int]
    master: Mapping[Kind, int]
    packed: int


def plan_byte_budget(
    master: Checkpoint, base: Checkpoint, layout: Layout, precision: Precision
) -> ByteBudget:
    """Return the bytes of both trees; the draft head comes from ``base``, the rest from ``master``.

    Raises ValueError naming the tensor that is missing, or that cannot be packed.
    """
    modules = precision.modules(layout)
    plain, packed = Counter[Kind](), Counter[Kind]()
    for name, nbytes in _plain(master, base, layout):
        plain[kind_of(name)] += nbytes
        module, leaf = module_of(name), name.rpartition(".")[2]
        if module in modules and leaf == WEIGHT:
            nbytes = _packed(name, master, activations=precision.packs_activations)
        packed[kind_of(name)] += nbytes
    for module in sorted(modules):
        master.locate(f"{module}.{WEIGHT}")
    return ByteBudget(nvfp4=packed, master=plain, packed=len(modules))


def count_bytes(checkpoint: Checkpoint) -> Mapping[Kind, int]:
    """Return the bytes of tensors of each class of module."""
    counted = Counter[Kind]()
    for name, place in checkpoint.tensors.items():
        counted[kind_of(name)] += place.tensor.nbytes
    return counted


def _plain(master: Checkpoint, base: Checkpoint, layout: Layout) -> Iterator[tuple[str, int]]:
    yield from ((name, base.locate(name).tensor.nbytes) for name in layout.mtp_names())
    for name, place in master.tensors.items():
        if not name.startswith(MTP_PREFIX):
            yield name, place.tensor.nbytes


def _packed(name: str, master: Checkpoint, *, activations: bool) -> int:
    rows, columns = check_matrix(name, master.locate(name).tensor.shape)
    tensors = MODELOPT.tensors(rows, columns, activations=activations).values()
    return sum(math.prod(shape) * ITEM_BYTES[dtype] for dtype, shape in tensors)
