"""Claims about precision, from headers alone: what is packed, what stayed BF16, in which shapes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from recipes.formats.precision import Storage
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, count, find, given
from recipes.formats.proofs.subject import Body, Recipe, Subject
from recipes.formats.qwen3_5 import Kind


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about dtypes and shapes; of what is packed only where something is."""
    yield Claim("mtp-bf16", "dtypes of mtp.* in the headers", _if_any(Kind.MTP, subject))
    yield Claim("vision-bf16", "dtypes of model.visual.* in the headers", _if_any(Kind.VISION, subject))
    yield Claim("conv1d-bf16", "dtypes of linear_attn.conv1d in the headers", _if_any(Kind.CONV1D, subject))
    yield Claim("lm-head-bf16", "dtype of lm_head in the headers", partial(_lm_head_bf16, subject))
    if subject.body is not None:
        yield from _of_body(subject, subject.body)


def _of_body(subject: Subject, body: Body) -> Iterator[Claim]:
    yield Claim(
        "nvfp4-body",
        "modules with scales in the nvfp4 tree: the body's Linears by the config",
        partial(_body_is_packed, subject, body),
    )
    yield Claim(
        "in-proj-ab",
        "precision of the gates in_proj_a and in_proj_b: what the recipe asks for",
        given(subject.recipe, partial(_gates_as_asked, subject, body)),
    )
    yield Claim(
        "nvfp4-four-tensors",
        "dtype and shape of the four tensors of every packed Linear: what the config implies",
        partial(_four_tensors, subject, body),
    )


def _if_any(kind: Kind, subject: Subject) -> Callable[[], Finding] | NotGiven:
    if not subject.is_release and not any(tree.of_kind(kind) for tree in subject.trees):
        return NotGiven(f"the tree has no {kind} tensor")
    return partial(_all_bf16, kind, subject)


def _all_bf16(kind: Kind, subject: Subject) -> Finding:
    flaws, numbers = [], []
    for tree in subject.trees:
        dtypes = {name: tree.checkpoint.locate(name).tensor.dtype for name in tree.of_kind(kind)}
        number = count(dtypes, f"{kind} tensor in the {tree.name} tree")
        numbers.append(f"{tree.name}: {number} tensors BF16")
        flaws += [f"{tree.name}: {name}: {dtype}" for name, dtype in dtypes.items() if dtype != "BF16"]
    return find(flaws, "; ".join(numbers))


def _lm_head_bf16(subject: Subject) -> Finding:
    return find((), "tied to the embedding") if subject.is_tied else _all_bf16(Kind.LM_HEAD, subject)


def _body_is_packed(subject: Subject, body: Body) -> Finding:
    layout = subject.architecture.layout
    found = set(body.modules)
    count(found, "packed Linear")
    strange = sorted(found - set(layout.body_linears()))
    flaws = [f"{name}: packed, but no Linear of the body" for name in strange]
    if isinstance(subject.recipe, NotGiven):
        groups = layout.fused_groups(in_proj_ab=False)
        flaws += [
            f"{name}: not packed, but {member} is" for group in groups for name, member in _torn(group, found)
        ]
        others = len(layout.body_linears()) - len(found) + len(strange)
        return find(flaws, f"{len(found)} Linears packed, {others} not; no fused group is torn")
    precision = subject.recipe.precision
    expected = precision.modules(layout)
    flaws += [f"{name}: not packed" for name in sorted(expected - found)]
    flaws += [f"{name}: packed, but not to be" for name in sorted(found & set(precision.kept(layout)))]
    if body.activations != precision.packs_activations:
        flaws.append(f"activations: expected {precision.activations} as in the recipe; the config differs")
    return find(flaws, f"{len(expected)} Linears packed, activations {precision.activations}")


def _torn(group: Sequence[str], found: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each member that is not packed, with one that is."""
    packed = [name for name in group if name in found]
    if packed:
        yield from ((name, packed[0]) for name in group if name not in found)


def _gates_as_asked(subject: Subject, body: Body, recipe: Recipe) -> Finding:
    gates = count(subject.architecture.layout.in_proj_ab(), "gate in the config")
    asked = recipe.precision.in_proj_ab
    wanted = asked is Storage.NVFP4
    wrong = [name for name in subject.architecture.layout.in_proj_ab() if (name in body.modules) != wanted]
    flaws = (f"{name}: {'not packed' if wanted else 'packed'}, but the recipe says {asked}" for name in wrong)
    return find(flaws, f"{gates} gates are {asked}")


def _four_tensors(subject: Subject, body: Body) -> Finding:
    number = count(body.modules, "packed Linear")
    shapes = subject.architecture.shapes()
    flaws: list[str] = []
    for module in body.modules:
        shape = shapes.get(f"{module}.weight", ())
        if len(shape) != 2:
            flaws.append(f"{module}: the config implies no matrix of this name")
            continue
        expected = body.scheme.tensors(*shape, activations=body.activations)
        for leaf, (dtype, wanted) in expected.items():
            place = body.tree.checkpoint.tensors.get(f"{module}.{leaf}")
            got = "none" if place is None else f"{place.tensor.dtype} {list(place.tensor.shape)}"
            # Exporters disagree on whether one number is a scalar or a vector of length one.
            if got not in {f"{dtype} {list(wanted)}", *_one_number(dtype, wanted)}:
                flaws.append(f"{module}.{leaf}: expected {dtype} {list(wanted)}, got {got}")
    return find(
        flaws,
        f"{number} Linears, {len(body.scheme.tensors(16, 16, activations=body.activations))} tensors each",
    )


def _one_number(dtype: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    return (f"{dtype} []", f"{dtype} [1]") if shape in ((), (1,)) else ()
