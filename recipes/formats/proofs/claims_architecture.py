"""Claims about what is there: every tensor the config implies, in the shape it implies."""

from collections.abc import Iterator, Sequence
from functools import partial

from recipes.formats.architecture import Architecture, Shapes, parse_architecture
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, count, find
from recipes.formats.proofs.subject import CONFIG, Body, Subject, Tree
from recipes.formats.qwen3_5 import MTP_PREFIX, MTP_TENSORS, Kind, text_config

# Scales of an 8-bit cache, which some exporters add beside a weight.
_CACHE_SCALES = frozenset({"k_scale", "v_scale"})
_NO_HEAD = NotGiven("the tree has no mtp.* tensor, so engines draft nothing; --against says if the base has")


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about names and shapes, tree by tree and of the draft head."""
    for tree in subject.trees:
        yield Claim(
            f"architecture-{tree.name}",
            f"name and shape of every tensor of the {tree.name} tree: its {CONFIG}",
            partial(_complete, tree, _body_of(tree, subject), head=_wants_head(subject)),
        )
    heads = _wants_head(subject)
    yield Claim(
        f"mtp-{MTP_TENSORS}-tensors",
        "mtp.* names and shapes: the config",
        partial(_mtp_complete, subject) if heads else _NO_HEAD,
    )
    yield Claim(
        "mtp-layers",
        f"layers under mtp.layers: mtp_num_hidden_layers of {CONFIG}",
        partial(_mtp_layers, subject.trees) if heads else _NO_HEAD,
    )


def expected_shapes(architecture: Architecture, body: Body | None) -> Shapes:
    """Return name → shape of a tree that packs what ``body`` packs, else nothing."""
    shapes = architecture.shapes()
    if body is None:
        return shapes
    for module in body.modules:
        shape = shapes.get(f"{module}.weight")
        if shape is None or len(shape) != 2:
            continue
        del shapes[f"{module}.weight"]
        parts = body.scheme.tensors(*shape, activations=body.activations)
        shapes |= {f"{module}.{leaf}": expected for leaf, (_, expected) in parts.items()}
    return shapes


def has_head(tree: Tree) -> bool:
    """Whether ``tree`` holds any tensor of a draft head."""
    return any(name.startswith(MTP_PREFIX) for name in tree.checkpoint.tensors)


def _wants_head(subject: Subject) -> bool:
    """Whether a draft head has to be there: in a release, where one is, and where the base has one."""
    if subject.is_release or any(map(has_head, subject.trees)):
        return True
    base = subject.base
    return not isinstance(base, NotGiven) and any(name.startswith(MTP_PREFIX) for name in base.tensors)


def _body_of(tree: Tree, subject: Subject) -> Body | None:
    return subject.body if subject.body and subject.body.tree is tree else None


def _complete(tree: Tree, body: Body | None, *, head: bool) -> Finding:
    expected = expected_shapes(parse_architecture(tree.config, f"{tree.name}: {CONFIG}"), body)
    if not head:
        expected = {name: shape for name, shape in expected.items() if not name.startswith(MTP_PREFIX)}
    eight_bit = body.eight_bit if body else ()
    beside = {f"{module}.{leaf}" for module in eight_bit for leaf in ("weight_scale", "input_scale")}
    found = {
        name: place.tensor.shape
        for name, place in tree.checkpoint.tensors.items()
        if name not in beside and name.rpartition(".")[2] not in _CACHE_SCALES
    }
    return find(
        (f"{name}: {flaw}" for name, flaw in _differences(found, expected)),
        f"{len(found)} tensors, none missing and none that the config does not imply",
    )


def _mtp_complete(subject: Subject) -> Finding:
    flaws = []
    for tree in subject.trees:
        expected = parse_architecture(tree.config, f"{tree.name}: {CONFIG}").layout.mtp_shapes()
        found = {name: tree.checkpoint.locate(name).tensor.shape for name in tree.of_kind(Kind.MTP)}
        flaws += [f"{tree.name}: {name}: {flaw}" for name, flaw in _differences(found, expected)]
        if len(found) != MTP_TENSORS:
            flaws.append(f"{tree.name}: expected {MTP_TENSORS} tensors of one draft layer, got {len(found)}")
    return find(flaws, f"{MTP_TENSORS} tensors in {_trees(subject.trees)}")


def _mtp_layers(trees: Sequence[Tree]) -> Finding:
    number = count(trees, "tree")
    flaws = []
    for tree in trees:
        # What the file says, not what a reader takes when it says nothing.
        said = text_config(tree.config, CONFIG).get("mtp_num_hidden_layers")
        layers = {name.split(".")[2] for name in tree.of_kind(Kind.MTP) if name.startswith("mtp.layers.")}
        if said != len(layers):
            flaws.append(f"{tree.name}: {CONFIG} says {said}, the tensors are of {len(layers)}")
    return find(flaws, f"one layer said and found in {number} of {number} trees")


def _differences(found: Shapes, expected: Shapes) -> Iterator[tuple[str, str]]:
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            yield name, f"missing, expected {list(expected[name])}"
        elif name not in expected:
            yield name, f"{list(found[name])}, which the config does not imply"
        elif found[name] != expected[name]:
            yield name, f"expected {list(expected[name])}, got {list(found[name])}"


def _trees(trees: Sequence[Tree]) -> str:
    return "each tree" if len(trees) > 1 else "the tree"
