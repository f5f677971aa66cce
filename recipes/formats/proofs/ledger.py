"""The ledger: what every byte of a tree is for, counted from headers, per class of module.

    {"format": 1, "trees": {"nvfp4": {"classes": {"mlp": {"tensors": 12, "dtypes": {"U8": 3, ...},
     "parameters": 98304, "bytes": 55320, "parts": {"codes": 49152, "block_scales": 6144, ...}}},
     "totals": {...}, "implied": {"tensors": 110, "parameters": 1234567, "bytes": 1345678},
     "files": {"headers": 9120, "other": 40213}, "shards": 2}}}

A packed weight counts the weights it stands for, two a byte; scales are bytes but no
parameters. ``implied`` is what the config's architecture takes when whatever is not packed
is BF16; ``headers`` are the bytes of shards that are no tensor, ``other`` all other files.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from recipes.formats.packing import MODELOPT, Scheme, scheme_of
from recipes.formats.proofs.claims_architecture import expected_shapes, has_head
from recipes.formats.proofs.subject import Body, Subject, Tree
from recipes.formats.qwen3_5 import MTP_PREFIX, kind_of, module_of
from recipes.formats.safetensors import ITEM_BYTES, Tensor

LEDGER_FILE = "ledger.json"
FORMAT = 1

CODES, BLOCK_SCALES, GLOBAL_SCALES, PLAIN = "codes", "block_scales", "global_scales", "plain"


@dataclass(slots=True)
class Line:
    """One line of the ledger: ``dtypes`` counts tensors by dtype, ``parts`` bytes by what they are."""

    tensors: int = 0
    parameters: int = 0
    bytes: int = 0
    dtypes: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)

    def add(self, tensor: Tensor, scheme: Scheme) -> None:
        """Count ``tensor``."""
        part = part_of(tensor, scheme)
        self.tensors += 1
        self.parameters += parameters(tensor, scheme)
        self.bytes += tensor.nbytes
        self.dtypes[tensor.dtype] += 1
        self.parts[part if part != PLAIN else tensor.dtype] += tensor.nbytes

    def to_json(self) -> dict[str, object]:
        """Return the line as a JSON table."""
        return {
            "tensors": self.tensors,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "dtypes": dict(sorted(self.dtypes.items())),
            "parts": dict(sorted(self.parts.items())),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger of one tree."""

    name: str
    classes: Mapping[str, Line]
    totals: Line
    implied: Line
    headers: int
    other: int
    shards: int

    def to_json(self) -> dict[str, object]:
        """Return the ledger as a JSON table."""
        return {
            "classes": {kind: line.to_json() for kind, line in self.classes.items()},
            "totals": self.totals.to_json(),
            "implied": {
                "tensors": self.implied.tensors,
                "parameters": self.implied.parameters,
                "bytes": self.implied.bytes,
            },
            "files": {"headers": self.headers, "other": self.other},
            "shards": self.shards,
        }


def ledgers(subject: Subject) -> tuple[Ledger, ...]:
    """Return the ledger of every tree."""
    return tuple(_ledger(tree, subject) for tree in subject.trees)


def to_json(found: Iterable[Ledger]) -> dict[str, object]:
    """Return ledgers as the JSON table of ``ledger.json``."""
    return {"format": FORMAT, "trees": {ledger.name: ledger.to_json() for ledger in found}}


def part_of(tensor: Tensor, scheme: Scheme = MODELOPT) -> str:
    """Return what a tensor's bytes are: codes, scales of blocks, scales of tensors, or plain numbers."""
    leaf = tensor.name.rpartition(".")[2]
    if tensor.dtype == "U8" and leaf == scheme.codes:
        return CODES
    if leaf not in scheme.scales:
        return PLAIN
    return BLOCK_SCALES if leaf == scheme.block_scales and tensor.shape else GLOBAL_SCALES


def parameters(tensor: Tensor, scheme: Scheme = MODELOPT) -> int:
    """Return how many weights ``tensor`` stands for; 0 for a scale."""
    return {CODES: 2 * tensor.items, PLAIN: tensor.items}.get(part_of(tensor, scheme), 0)


def _ledger(tree: Tree, subject: Subject) -> Ledger:
    checkpoint = tree.checkpoint
    scheme = scheme_of(checkpoint.tensors)
    classes: dict[str, Line] = {}
    totals = Line()
    for name, place in checkpoint.tensors.items():
        classes.setdefault(str(kind_of(name)), Line()).add(place.tensor, scheme)
        totals.add(place.tensor, scheme)
    shards = sum((checkpoint.root / file).stat().st_size for file in checkpoint.headers)
    files = sum(path.stat().st_size for path in tree.root.rglob("*") if path.is_file())
    return Ledger(
        name=tree.name,
        classes=dict(sorted(classes.items())),
        totals=totals,
        implied=_implied(tree, subject),
        headers=shards - totals.bytes,
        other=files - shards,
        shards=len(checkpoint.headers),
    )


def _implied(tree: Tree, subject: Subject) -> Line:
    body = subject.body if subject.body and subject.body.tree is tree else None
    line = Line()
    for tensor in _implied_tensors(subject, body, head=subject.is_release or has_head(tree)):
        line.add(tensor, body.scheme if body else MODELOPT)
    return line


def _implied_tensors(subject: Subject, body: Body | None, *, head: bool) -> Iterator[Tensor]:
    """Yield what the config implies as tensors, BF16 where it is neither packed nor FP8."""
    packed = set(body.modules) if body else set()
    eight_bit = set(body.eight_bit) if body else set()
    parts = body.scheme.tensors(16, 16, activations=body.activations) if body else {}
    for name, shape in expected_shapes(subject.architecture, body).items():
        if name.startswith(MTP_PREFIX) and not head:
            continue
        module, leaf = module_of(name), name.rpartition(".")[2]
        dtype = "F8_E4M3" if module in eight_bit and leaf == "weight" else "BF16"
        if module in packed and leaf in parts:
            dtype = parts[leaf][0]
        yield Tensor(name, dtype, shape, 0, prod(shape) * ITEM_BYTES[dtype])
