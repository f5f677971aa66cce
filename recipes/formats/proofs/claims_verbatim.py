"""Claims that bytes were left alone: draft head, vision tower, head, and all that is not packed."""

from collections.abc import Callable, Iterator
from functools import partial

from recipes.formats.checkpoint import Checkpoint
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, count, find, given
from recipes.formats.proofs.subject import MASTER, NVFP4, Subject, Tree, of_kind
from recipes.formats.qwen3_5 import Kind, kind_of, module_of

_OF_BASE = ((Kind.MTP, "mtp.*"), (Kind.VISION, "model.visual.*"))
_OF_MASTER = (
    ("lm-head", Kind.LM_HEAD),
    ("embeddings", Kind.EMBEDDING),
    ("norms", Kind.NORM),
    ("conv1d", Kind.CONV1D),
)


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about bytes that nobody may have changed."""
    for tree in subject.trees:
        for kind, names in _OF_BASE:
            yield Claim(
                f"{kind}-verbatim-{tree.name}",
                f"bytes of {names} in the {tree.name} tree and in the base, both ways",
                _against_base(kind, tree, subject),
            )
    for name, kind in _OF_MASTER:
        yield Claim(
            f"{name}-verbatim",
            f"bytes of {name} and of the master's, both ways",
            given(subject.master, partial(_same_in_all, kind, subject)),
        )
    for tree in subject.trees:
        if tree.name == NVFP4:
            yield Claim(
                "unpacked-verbatim",
                "bytes of every tensor of the nvfp4 tree that is not packed, and of the master",
                given(subject.master, partial(_unpacked_of_master, tree, subject)),
            )
        if tree.name == MASTER:
            yield Claim(
                "master-verbatim",
                "bytes of every tensor of the master tree but mtp.*, and of the master, both ways",
                given(subject.master, partial(_master_of_master, tree, subject)),
            )


def _against_base(kind: Kind, tree: Tree, subject: Subject) -> Callable[[], Finding] | NotGiven:
    base = subject.base
    if isinstance(base, NotGiven):
        return base
    if not of_kind(kind, base):
        return NotGiven(f"the base holds no {kind} tensor")
    if kind is Kind.VISION and subject.architecture.vision is None:
        return NotGiven("the config is of a text model, which has no vision tower")
    return partial(_same_kind, kind, tree.checkpoint, base, subject)


def _same_kind(kind: Kind, ours: Checkpoint, theirs: Checkpoint, subject: Subject) -> Finding:
    names = sorted({*of_kind(kind, ours), *of_kind(kind, theirs)})
    number = count(names, f"{kind} tensor")
    return _equal(names, ours, theirs, subject, number)


def _same_in_all(kind: Kind, subject: Subject, master: Checkpoint) -> Finding:
    if kind is Kind.LM_HEAD and subject.is_tied:
        return find((), "tied to the embedding")
    findings = [(tree.name, _same_kind(kind, tree.checkpoint, master, subject)) for tree in subject.trees]
    flaws = (f"{name}: {flaw}" for name, finding in findings for flaw in finding.flaws)
    return find(flaws, "; ".join(f"{name}: {finding.counted}" for name, finding in findings))


def _unpacked_of_master(tree: Tree, subject: Subject, master: Checkpoint) -> Finding:
    """Hold all but the draft head, which is the base's, against the master."""
    body = subject.body
    packed = {*body.modules, *body.eight_bit} if body else set()
    ours = tree.checkpoint
    left_out = {Kind.MTP} if of_kind(Kind.VISION, master) else {Kind.MTP, Kind.VISION}
    kept = [name for name in ours.tensors if module_of(name) not in packed]
    names = [name for name in kept if kind_of(name) not in left_out]
    lost = (
        name
        for name in master.tensors
        if name not in ours.tensors and module_of(name) not in packed and kind_of(name) is not Kind.MTP
    )
    number = count(names, "unpacked tensor")
    finding = _equal(names, ours, master, subject, number)
    return find((*finding.flaws, *(f"{name}: lost" for name in lost)), finding.counted)


def _master_of_master(tree: Tree, subject: Subject, master: Checkpoint) -> Finding:
    both = {*tree.checkpoint.tensors, *master.tensors}
    names = sorted(name for name in both if kind_of(name) is not Kind.MTP)
    return _equal(names, tree.checkpoint, master, subject, count(names, "tensor"))


def _equal(names: list[str], ours: Checkpoint, theirs: Checkpoint, subject: Subject, number: int) -> Finding:
    flaws = subject.comparer.differences(names, ours, theirs)
    return find(flaws, f"{number} tensors equal{subject.depth.words}")
