"""What is proved: one or two trees of a release, and what they are held against.

A step gives everything; ``invoke prove PATH`` gives a folder and what its user has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recipes.formats import progress, strict_json
from recipes.formats.architecture import Architecture
from recipes.formats.calibration import Calibration
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.packing import COMPRESSED_TENSORS, Scheme, scheme_of
from recipes.formats.precision import Precision
from recipes.formats.proofs.claim import NotGiven
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.packer import NumpyPacker, Packer
from recipes.formats.qwen3_5 import LM_HEAD, Kind, kind_of, module_of

CONFIG = "config.json"
QUANT_CONFIG = "hf_quant_config.json"
QUANTIZATION = "quantization_config"

NVFP4 = "nvfp4"
MASTER = "master"

Told = Callable[[str, int, int, str], None]
"""Learns how far a proof is: what, done, total, unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree: ``name`` is what a release calls it, ``nvfp4`` or ``master``."""

    name: str
    checkpoint: Checkpoint
    config: Mapping[str, object]

    @property
    def root(self) -> Path:
        """The folder."""
        return self.checkpoint.root

    def of_kind(self, kind: Kind) -> list[str]:
        """Return the names of the tensors of one class."""
        return of_kind(kind, self.checkpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is packed in a tree. ``modules`` have NVFP4 scales, ``eight_bit`` are FP8; both sorted.

    ``activations`` says whether activations are quantized too, by an input scale.
    """

    tree: Tree
    scheme: Scheme
    modules: tuple[str, ...]
    eight_bit: tuple[str, ...]
    activations: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a recipe promised."""

    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything that claims are made about.

    ``is_release`` asks for what every release has: a draft head, one locked interface.
    """

    architecture: Architecture
    body: Body | None
    plain: Tree | None
    base: Checkpoint | NotGiven
    master: Checkpoint | NotGiven
    calibration: Calibration | NotGiven
    template: bytes | NotGiven
    recipe: Recipe | NotGiven
    is_release: bool
    packer: Packer = field(default_factory=NumpyPacker)
    comparer: Comparer = field(default_factory=lambda: Comparer(Depth.FULL))
    told: Told = progress.update

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The trees that are proved, the packed one first."""
        packed = (self.body.tree,) if self.body else ()
        return (*packed, *((self.plain,) if self.plain else ()))

    @property
    def depth(self) -> Depth:
        """How much of each tensor is read."""
        return self.comparer.depth

    @property
    def is_tied(self) -> bool:
        """Whether the output head is the embedding, and no tensor of its own."""
        if not self.architecture.layout.tied:
            return False
        return not any(
            name.startswith(f"{LM_HEAD}.") for tree in self.trees for name in tree.checkpoint.tensors
        )

    @property
    def packs_in_proj_ab(self) -> bool:
        """Whether any of the gates ``in_proj_a`` and ``in_proj_b`` is packed."""
        gates = self.architecture.layout.in_proj_ab()
        return self.body is not None and not set(self.body.modules).isdisjoint(gates)


def read_tree(folder: Path, name: str) -> Tree:
    """Open the tree in ``folder``. Raises ValueError, which names the file."""
    return Tree(name=name, checkpoint=open_checkpoint(folder), config=strict_json.read_table(folder / CONFIG))


def read_body(tree: Tree) -> Body:
    """Return what is packed in ``tree``, read from headers and what its config says of activations."""
    tensors = tree.checkpoint.tensors
    scheme = scheme_of(tensors)
    scaled = {module_of(name) for name in tensors if name.rpartition(".")[2] in scheme.scales}
    eight_bit = {
        module
        for module in scaled
        if (place := tensors.get(f"{module}.weight")) and place.tensor.dtype.startswith("F8")
    }
    return Body(
        tree=tree,
        scheme=scheme,
        modules=tuple(sorted(scaled - eight_bit)),
        eight_bit=tuple(sorted(eight_bit)),
        activations=_quantizes_activations(tree, scheme),
    )


def is_quantized(tree: Tree) -> bool:
    """Whether ``tree`` says or shows that it is quantized."""
    says = QUANTIZATION in tree.config or (tree.root / QUANT_CONFIG).exists()
    return says or bool(read_body(tree).modules)


def quantization_of(tree: Tree) -> Mapping[str, object]:
    """Return the tree's quantization table: config.json's, else hf_quant_config.json's.

    Raises ValueError when there is neither.
    """
    if QUANTIZATION in tree.config or not (tree.root / QUANT_CONFIG).exists():
        return strict_json.table(tree.config, QUANTIZATION, CONFIG)
    exported = strict_json.read_table(tree.root / QUANT_CONFIG)
    return strict_json.table(exported, "quantization", QUANT_CONFIG)


def ignore_list_of(tree: Tree) -> list[str]:
    """Return the tree's ignore list. Raises ValueError when there is none."""
    table = quantization_of(tree)
    key = "ignore" if "ignore" in table or "exclude_modules" not in table else "exclude_modules"
    return strict_json.strings(table, key, CONFIG)


def of_kind(kind: Kind, checkpoint: Checkpoint) -> list[str]:
    """Return the names of the tensors of one class."""
    return [name for name in checkpoint.tensors if kind_of(name) is kind]


def _quantizes_activations(tree: Tree, scheme: Scheme) -> bool:
    try:
        table = quantization_of(tree)
    except ValueError:
        return True
    if scheme is not COMPRESSED_TENSORS:
        return not str(table.get("quant_algo", "")).startswith("W4A16")
    match table.get("config_groups"):
        case dict(groups):
            return any(isinstance(g, dict) and g.get("input_activations") for g in groups.values())
    return True
