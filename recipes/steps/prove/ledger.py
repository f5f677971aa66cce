"""The ledger: what both trees hold, counted from headers, per class of module.

    {"format": 1, "trees": {"nvfp4": {"classes": {"mlp": {"tensors": 12, "dtypes": {"U8": 3, ...},
     "parameters": 98304, "bytes": 55320}}, "totals": {...}, "shards": 2}}}

A packed weight counts the weights it stands for, two a byte; scales are bytes but no
parameters.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from recipes.formats import nvfp4
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.qwen3_5 import kind_of
from recipes.formats.safetensors import Tensor
from recipes.steps.prove.trees import Trees

LEDGER_FILE = "ledger.json"
FORMAT = 1
_SCALES = frozenset({nvfp4.WEIGHT_SCALE, nvfp4.WEIGHT_SCALE_2, nvfp4.INPUT_SCALE})


@dataclass(slots=True)
class Line:
    """One line of the ledger: ``dtypes`` counts tensors by dtype."""

    tensors: int = 0
    parameters: int = 0
    bytes: int = 0
    dtypes: Counter[str] = field(default_factory=Counter)

    def add(self, tensor: Tensor) -> None:
        """Count ``tensor``."""
        self.tensors += 1
        self.parameters += parameters(tensor)
        self.bytes += tensor.nbytes
        self.dtypes[tensor.dtype] += 1

    def to_json(self) -> dict[str, object]:
        """Return the line as a JSON table."""
        return {
            "tensors": self.tensors,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "dtypes": dict(sorted(self.dtypes.items())),
        }


def ledger(trees: Trees) -> dict[str, object]:
    """Return the ledger of both release trees as a JSON table."""
    return {"format": FORMAT, "trees": {name: _tree(tree) for name, tree in trees.releases}}


def parameters(tensor: Tensor) -> int:
    """Return how many weights ``tensor`` stands for; 0 for a scale."""
    leaf = tensor.name.rpartition(".")[2]
    if leaf in _SCALES:
        return 0
    return tensor.items * 2 if tensor.dtype == "U8" else tensor.items


def totals(tensors: Iterable[Tensor]) -> Line:
    """Return one line over all ``tensors``."""
    line = Line()
    for tensor in tensors:
        line.add(tensor)
    return line


def _tree(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "classes": {kind: line.to_json() for kind, line in sorted(_classes(checkpoint).items())},
        "totals": totals(place.tensor for place in checkpoint.tensors.values()).to_json(),
        "shards": len(checkpoint.headers),
    }


def _classes(checkpoint: Checkpoint) -> Mapping[str, Line]:
    lines: dict[str, Line] = {}
    for name, place in checkpoint.tensors.items():
        lines.setdefault(str(kind_of(name)), Line()).add(place.tensor)
    return lines
