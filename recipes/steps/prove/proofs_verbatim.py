"""Claims that bytes were left alone: draft head, vision tower, head, and all that is not packed."""

from collections.abc import Iterable, Iterator
from functools import partial

from recipes.formats.checkpoint import Checkpoint
from recipes.formats.qwen3_5 import MTP_TENSORS, Kind, kind_of, module_of
from recipes.steps.prove.claim import Claim, Finding, count, find
from recipes.steps.prove.compare import differences
from recipes.steps.prove.trees import Trees

_NOT_OF_BODY = frozenset({Kind.MTP, Kind.VISION})


def claims(trees: Trees) -> Iterator[Claim]:
    """Yield the claims about bytes that nobody may have changed."""
    head = f"mtp-{MTP_TENSORS}-tensors"
    yield Claim(head, "mtp.* names and shapes in both trees: the config", partial(_mtp_complete, trees))
    yield Claim("mtp-bf16", "dtypes of mtp.* in both trees' headers", partial(_all_bf16, Kind.MTP, trees))
    for tree, ours in trees.releases:
        yield Claim(
            f"mtp-verbatim-{tree}",
            f"bytes of mtp.* in the {tree} tree and in the base, both ways",
            partial(_same_kind, Kind.MTP, ours, trees.base),
        )
        yield Claim(
            f"vision-verbatim-{tree}",
            f"bytes of model.visual.* in the {tree} tree and in the base, both ways",
            partial(_same_kind, Kind.VISION, ours, trees.base),
        )
    yield Claim("lm-head-bf16", "dtype of lm_head in both trees' headers", partial(_lm_head_bf16, trees))
    for name, kind in (
        ("lm-head", Kind.LM_HEAD),
        ("embeddings", Kind.EMBEDDING),
        ("norms", Kind.NORM),
        ("conv1d", Kind.CONV1D),
    ):
        yield Claim(
            f"{name}-verbatim",
            f"bytes of {name} in both trees and in the master, both ways",
            partial(_same_in_both, kind, trees),
        )
    yield Claim(
        "unpacked-verbatim",
        "bytes of every tensor of the nvfp4 tree that is not packed, and of the master",
        partial(_unpacked_of_master, trees),
    )
    yield Claim(
        "master-verbatim",
        "bytes of every tensor of the master tree but mtp.*, and of the master, both ways",
        partial(_master_of_master, trees),
    )


def _mtp_complete(trees: Trees) -> Finding:
    expected = trees.layout.mtp_shapes()
    flaws = [flaw for tree, ours in trees.releases for flaw in _mtp_flaws(tree, ours, expected)]
    if len(expected) != MTP_TENSORS:
        flaws.append(f"config.json: expected one draft layer, {MTP_TENSORS} tensors, got {len(expected)}")
    return find(flaws, f"{len(expected)} tensors in each tree")


def _mtp_flaws(tree: str, ours: Checkpoint, expected: dict[str, tuple[int, ...]]) -> Iterator[str]:
    found = {name: ours.locate(name).tensor.shape for name in _of_kind(Kind.MTP, ours)}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            yield f"{tree}: {name}: expected {_shape(expected.get(name))}, got {_shape(found.get(name))}"


def _all_bf16(kind: Kind, trees: Trees) -> Finding:
    flaws, numbers = [], []
    for tree, ours in trees.releases:
        dtypes = {name: ours.locate(name).tensor.dtype for name in _of_kind(kind, ours)}
        numbers.append(f"{tree}: {count(dtypes, f'{kind} tensor in the {tree} tree')} tensors BF16")
        flaws += [f"{tree}: {name}: {dtype}" for name, dtype in dtypes.items() if dtype != "BF16"]
    return find(flaws, "; ".join(numbers))


def _lm_head_bf16(trees: Trees) -> Finding:
    return find((), "tied to the embedding") if _is_tied(trees) else _all_bf16(Kind.LM_HEAD, trees)


def _same_kind(kind: Kind, ours: Checkpoint, theirs: Checkpoint) -> Finding:
    names = sorted({*_of_kind(kind, ours), *_of_kind(kind, theirs)})
    number = count(names, f"{kind} tensor")
    return find(differences(names, ours, theirs), f"{number} tensors equal")


def _same_in_both(kind: Kind, trees: Trees) -> Finding:
    if kind is Kind.LM_HEAD and _is_tied(trees):
        return find((), "tied to the embedding")
    findings = [(tree, _same_kind(kind, ours, trees.master)) for tree, ours in trees.releases]
    flaws = (f"{tree}: {flaw}" for tree, finding in findings for flaw in finding.flaws)
    return find(flaws, "; ".join(f"{tree}: {finding.counted}" for tree, finding in findings))


def _unpacked_of_master(trees: Trees) -> Finding:
    packed = set(trees.quantized())
    kept = [name for name in trees.nvfp4.tensors if module_of(name) not in packed]
    names = [name for name in kept if kind_of(name) not in _NOT_OF_BODY]
    lost = [name for name in trees.master.tensors if name not in trees.nvfp4.tensors]
    number = count(names, "unpacked tensor")
    flaws = [*differences(names, trees.nvfp4, trees.master), *(f"{name}: lost" for name in lost)]
    return find(flaws, f"{number} tensors equal")


def _master_of_master(trees: Trees) -> Finding:
    both = {*trees.release_master.tensors, *trees.master.tensors}
    names = sorted(name for name in both if kind_of(name) is not Kind.MTP)
    number = count(names, "tensor")
    return find(differences(names, trees.release_master, trees.master), f"{number} tensors equal")


def _of_kind(kind: Kind, checkpoint: Checkpoint) -> Iterable[str]:
    return (name for name in checkpoint.tensors if kind_of(name) is kind)


def _is_tied(trees: Trees) -> bool:
    return trees.layout.tied and not any(_of_kind(Kind.LM_HEAD, trees.master))


def _shape(shape: tuple[int, ...] | None) -> str:
    return "no such tensor" if shape is None else str(list(shape))
