"""The claim about what the configs say of the packing: an engine reads that before any tensor."""

from collections.abc import Iterator, Mapping
from functools import partial

from recipes.formats import nvfp4, strict_json
from recipes.formats.packing import MODELOPT
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, find
from recipes.formats.proofs.subject import CONFIG, QUANT_CONFIG, QUANTIZATION, Body, Subject, Tree

_ALGORITHMS = frozenset({"NVFP4", "W4A16_NVFP4", "MIXED_PRECISION"})
_FORMATS = frozenset({"nvfp4-pack-quantized", "mixed-precision"})

Table = Mapping[str, object]


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claim; none for a tree that packs nothing."""
    if subject.body is not None:
        yield Claim(
            "configs-agree",
            f"{QUANTIZATION} of {CONFIG}, {QUANT_CONFIG}, and how the nvfp4 tree's bytes are packed",
            partial(_configs_agree, subject, subject.body),
        )


def _configs_agree(subject: Subject, body: Body) -> Finding:
    new, old = _said(body.tree), _exported(body.tree)
    if body.scheme is MODELOPT:
        flaws = [
            *_missing(new, old, every=subject.is_release),
            *_modelopt(new, old, _algorithms(subject)),
        ]
    else:
        flaws = list(_compressed_tensors(new))
    return find(flaws, f"{body.scheme.name}, NVFP4 in groups of {nvfp4.GROUP_SIZE}, one ignore list")


def _algorithms(subject: Subject) -> frozenset[str]:
    """Return what the configs may name: what the recipe asks for, or any where there is none."""
    if isinstance(subject.recipe, NotGiven):
        return _ALGORITHMS
    return frozenset({subject.recipe.precision.algorithm})


def _said(tree: Tree) -> Table | None:
    return strict_json.table(tree.config, QUANTIZATION, CONFIG) if QUANTIZATION in tree.config else None


def _exported(tree: Tree) -> Table | None:
    path = tree.root / QUANT_CONFIG
    if not path.exists():
        return None
    return strict_json.table(strict_json.read_table(path), "quantization", QUANT_CONFIG)


def _missing(new: Table | None, old: Table | None, *, every: bool) -> Iterator[str]:
    """Yield what is not there: a release has both, since older engines read the second alone."""
    if new is None and old is None:
        yield f"neither {CONFIG} nor {QUANT_CONFIG} says that the tree is packed"
    elif every and new is None:
        yield f"{CONFIG}: no {QUANTIZATION}"
    elif every and old is None:
        yield f"{QUANT_CONFIG}: no such file, which older engines read"


def _modelopt(new: Table | None, old: Table | None, wanted: frozenset[str]) -> Iterator[str]:
    for file, table in ((CONFIG, new), (QUANT_CONFIG, old)):
        algorithm = None if table is None else table.get("quant_algo")
        if table is not None and algorithm not in wanted:
            yield f"{file}: quant_algo: expected {' or '.join(sorted(wanted))}, got {algorithm}"
    if new is not None and not str(new.get("quant_method")).startswith(MODELOPT.name):
        yield f"{CONFIG}: quant_method: expected {MODELOPT.name}, got {new.get('quant_method')}"
    if new is not None and old is not None:
        yield from _disagreements(new, old)
    group_size = nvfp4.GROUP_SIZE if old is None else old.get("group_size")
    if group_size != nvfp4.GROUP_SIZE:
        yield f"{QUANT_CONFIG}: group_size: expected {nvfp4.GROUP_SIZE}, got {group_size}"
    for number in sorted(_group_sizes(new) - {nvfp4.GROUP_SIZE}):
        yield f"{CONFIG}: {QUANTIZATION}: group_size: expected {nvfp4.GROUP_SIZE}, got {number}"


def _disagreements(new: Table, old: Table) -> Iterator[str]:
    if _sorted(new.get("ignore")) != _sorted(old.get("exclude_modules")):
        yield f"{QUANT_CONFIG}: exclude_modules is not the ignore list of {CONFIG}"
    if new.get("quant_algo") != old.get("quant_algo"):
        yield f"{QUANT_CONFIG}: quant_algo is not that of {CONFIG}"


def _compressed_tensors(table: Table | None) -> Iterator[str]:
    if table is None:
        yield f"{CONFIG}: no {QUANTIZATION}"
        return
    if table.get("quant_method") != "compressed-tensors":
        yield f"{CONFIG}: quant_method: expected compressed-tensors, got {table.get('quant_method')}"
    if table.get("format") not in _FORMATS:
        yield f"{CONFIG}: format: expected {' or '.join(sorted(_FORMATS))}, got {table.get('format')}"
    if _group_sizes(table) != {nvfp4.GROUP_SIZE}:
        found = sorted(_group_sizes(table))
        yield f"{CONFIG}: config_groups: expected 4 bits in groups of {nvfp4.GROUP_SIZE}, got {found}"


def _group_sizes(table: Table | None) -> set[int]:
    """Return every group size that ``config_groups`` names of 4-bit numbers."""
    groups = (table or {}).get("config_groups")
    found = [
        part for group in (groups.values() if isinstance(groups, dict) else ()) for part in _parts(group)
    ]
    return {
        size for part in found if part.get("num_bits") == 4 and type(size := part.get("group_size")) is int
    }


def _parts(group: object) -> list[Table]:
    if not isinstance(group, dict):
        return []
    return [part for key in ("weights", "input_activations") if isinstance(part := group.get(key), dict)]


def _sorted(value: object) -> list[str]:
    return sorted(map(str, value)) if isinstance(value, list) else []
