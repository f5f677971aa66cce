"""The ledger of both trees' safetensors headers, as ``prove`` writes it.

    {"format": 1, "trees": {"nvfp4": {"classes": {"mlp": {"tensors": 12, "dtypes": {"U8": 3},
     "parameters": 98304, "bytes": 55320}}, "totals": {...}, "shards": 2}}}

A packed weight counts the weights that it stands for, two a byte; scales are bytes and no
parameters.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.qwen3_5 import Kind
from release.errors import ConfigError
from release.tables import Table, expect_format

LEDGER_FILE = "ledger.json"
BF16 = "BF16"
PACKED = "U8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """The tensors of one kind of module. ``dtypes`` is sorted; ``size`` is in bytes."""

    kind: Kind
    tensors: int
    parameters: int
    size: int
    dtypes: tuple[str, ...]

    @property
    def packed(self) -> bool:
        """Whether weights are stored as packed NVFP4."""
        return PACKED in self.dtypes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One tree's components, in the order of the checkpoint's parts."""

    components: tuple[Component, ...]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(component.size for component in self.components)

    @property
    def tensors(self) -> int:
        """The number of all tensors."""
        return sum(component.tensors for component in self.components)

    @property
    def parameters(self) -> int:
        """The parameters of the model."""
        return sum(component.parameters for component in self.components)

    def find(self, kind: Kind) -> Component | None:
        """Return the component of ``kind``, or None when the tree has none."""
        return next((component for component in self.components if component.kind is kind), None)

    def part(self, name: str) -> Component:
        """Return the component called ``name``. Raises ConfigError when the tree has none."""
        found = self.find(Kind(name))
        if found is None:
            raise ConfigError(f"prove/{LEDGER_FILE}: classes: expected {name}, got none")
        return found

    def all_bf16(self, name: str) -> bool:
        """Tell whether ``name`` is there and stored in BF16 only."""
        found = self.find(Kind(name))
        return found is not None and found.dtypes == (BF16,)


def read_ledgers(folder: Path) -> Mapping[str, Ledger]:
    """Read the ledgers of all trees. Raises ConfigError: file, key, expected, got."""
    file = Path("prove") / LEDGER_FILE
    try:
        data = json.loads((folder / LEDGER_FILE).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
    table = Table(file, data if isinstance(data, dict) else {})
    expect_format(table, 1)
    return {name: _ledger(tree) for name, tree in table.take_tables("trees").items()}


def _ledger(tree: Table) -> Ledger:
    classes = tree.take_tables("classes")
    unknown = sorted(set(classes) - set(Kind))
    if unknown:
        raise tree.error("classes", " or ".join(Kind), unknown[0])
    return Ledger(components=tuple(_component(kind, classes[kind]) for kind in Kind if kind in classes))


def _component(kind: Kind, table: Table) -> Component:
    return Component(
        kind=kind,
        tensors=table.take("tensors", int),
        parameters=table.take("parameters", int),
        size=table.take("bytes", int),
        dtypes=tuple(sorted(table.take("dtypes", dict))),
    )
