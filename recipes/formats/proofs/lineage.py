"""Lineage: which tensors changed on the way from the base to the master, class by class.

    found = trace(base, master, comparer)
    found.classes["vision"].equal, found.classes["mlp"].changed

"Vision frozen" and "draft head verbatim" follow from it. The base may hold only its draft
head and its vision tower, fetched by range; then nothing is said of the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from recipes.formats.checkpoint import Checkpoint
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.subject import of_kind
from recipes.formats.qwen3_5 import Kind, kind_of


class Scope(StrEnum):
    """How much of the base there was to compare with."""

    WHOLE = "every tensor of the base"
    PART = "the base's draft head and vision tower alone"


@dataclass(slots=True)
class Change:
    """What became of the tensors of one class."""

    equal: int = 0
    changed: int = 0
    only_base: int = 0
    only_master: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the counts as a JSON table."""
        return {
            "equal": self.equal,
            "changed": self.changed,
            "only_base": self.only_base,
            "only_master": self.only_master,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What changed between the base and the master."""

    scope: Scope
    classes: Mapping[str, Change]

    @property
    def vision_frozen(self) -> bool:
        """Whether the master's vision tower is the base's, tensor by tensor."""
        change = self.classes.get(Kind.VISION, Change())
        return change.equal > 0 and change == Change(equal=change.equal)

    def to_json(self) -> dict[str, object]:
        """Return the lineage as a JSON table."""
        return {
            "compared": str(self.scope),
            "vision_frozen": self.vision_frozen,
            "classes": {kind: change.to_json() for kind, change in self.classes.items()},
        }


def trace(base: Checkpoint, master: Checkpoint, comparer: Comparer) -> Lineage:
    """Compare the two, tensor by tensor: names, dtypes, shapes and bytes."""
    part = {*of_kind(Kind.MTP, base), *of_kind(Kind.VISION, base)} >= base.tensors.keys()
    names = {name for name in (*base.tensors, *master.tensors) if not part or name in base.tensors}
    both = sorted(name for name in names if name in base.tensors and name in master.tensors)
    differs = comparer.compare(both, master, base)
    classes: dict[str, Change] = {}
    for name in sorted(names):
        change = classes.setdefault(str(kind_of(name)), Change())
        if name not in master.tensors:
            change.only_base += 1
        elif name not in base.tensors:
            change.only_master += 1
        elif differs[name]:
            change.changed += 1
        else:
            change.equal += 1
    return Lineage(scope=Scope.PART if part else Scope.WHOLE, classes=dict(sorted(classes.items())))
