"""Claims about the packed body: complete, usable by an engine, and what the master packs to."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isfinite

import numpy as np

from recipes.formats.calibration import Calibration
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.packing import MODELOPT
from recipes.formats.precision import Storage
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, count, find, given
from recipes.formats.proofs.error import HIGHEST, LOWEST, relative_error
from recipes.formats.proofs.repack import repack
from recipes.formats.proofs.subject import Body, Recipe, Subject

# e4m3fn bits of the finite numbers above zero; 0x7F is NaN, 0x80 and up are negative.
_E4M3_FIRST, _E4M3_LAST = 0x01, 0x7E


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about what is packed; none for a tree that packs nothing."""
    body = subject.body
    if body is None:
        return
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
    yield Claim(
        "scales-finite-positive",
        "every value of every scale of the nvfp4 tree",
        partial(_scales_usable, subject, body),
    )
    yield Claim(
        "one-scale-per-fused-group",
        "global scale and input scale over the members of every fused group",
        partial(_one_scale, subject, body),
    )
    yield Claim(
        "input-scales-calibrated",
        "input_scale of every packed Linear: calibration.json",
        given(subject.calibration, partial(_as_calibrated, body)),
    )
    yield Claim(
        "repack",
        "weight, weight_scale and weight_scale_2 of every packed Linear: the master, packed again",
        _by_our_rules(body) or given(subject.master, partial(_repack, subject, body)),
    )
    yield Claim(
        "relative-error",
        "packed weights, unpacked, and the master's: difference over norm, tensor by tensor",
        given(subject.master, partial(_errors, body)),
    )


def fused_groups(subject: Subject, body: Body) -> tuple[tuple[str, ...], ...]:
    """Return the packed part of every fused group of the config that is packed."""
    packed = set(body.modules)
    groups = subject.architecture.layout.fused_groups(in_proj_ab=True)
    found = (tuple(name for name in group if name in packed) for group in groups)
    return tuple(group for group in found if group)


def _by_our_rules(body: Body) -> NotGiven | None:
    if body.scheme is MODELOPT:
        return None
    return NotGiven(f"{body.scheme.name} rounds its block scales by another rule than modelopt")


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


def _scales_usable(subject: Subject, body: Body) -> Finding:
    checkpoint = body.tree.checkpoint
    names = [
        f"{module}.{leaf}"
        for module in body.modules
        for leaf in sorted(body.scheme.scales)
        if f"{module}.{leaf}" in checkpoint.tensors
    ]
    number = count(names, "scale")
    flaws = ((name, _scale_flaw(name, subject, checkpoint)) for name in names)
    return find(
        (f"{name}: {flaw}" for name, flaw in flaws if flaw),
        f"{number} tensors of scales{subject.depth.words}",
    )


def _scale_flaw(name: str, subject: Subject, checkpoint: Checkpoint) -> str:
    tensor = checkpoint.locate(name).tensor
    if tensor.dtype == "F32":
        value = _scalar(name, checkpoint)
        return "" if isfinite(value) and value > 0 else f"scale is {value}"
    bad = 0
    for begin, end in subject.depth.ranges(tensor.nbytes):
        bits = np.frombuffer(checkpoint.part(name, begin, end), np.uint8)
        bad += int(np.count_nonzero((bits < _E4M3_FIRST) | (bits > _E4M3_LAST)))
    return f"{bad} of {tensor.items} block scales are zero, negative or NaN" if bad else ""


def _one_scale(subject: Subject, body: Body) -> Finding:
    groups = fused_groups(subject, body)
    number = count(groups, "fused group")
    flaws = [flaw for group in groups for flaw in _group_flaws(group, body)]
    return find(flaws, f"{number} fused groups")


def _group_flaws(group: tuple[str, ...], body: Body) -> Iterator[str]:
    scheme = body.scheme
    for leaf in (scheme.global_scale, *((scheme.input_scale,) if body.activations else ())):
        values = {module: _scalar(f"{module}.{leaf}", body.tree.checkpoint) for module in group}
        if len(set(values.values())) > 1:
            yield f"{leaf} differs in a fused group: {_table(values)}"


def _as_calibrated(body: Body, calibration: Calibration) -> Finding:
    ranges = {name: group.input_scale for group in calibration.ranges for name in group.members}
    number = count(body.modules, "packed Linear")
    leaf, checkpoint = body.scheme.input_scale, body.tree.checkpoint
    flaws = [f"{name}: calibrated, but not packed" for name in sorted(ranges.keys() - set(body.modules))]
    if not body.activations:
        return find(flaws, "activations stay BF16: no range, and no input scale")
    for module in body.modules:
        if module not in ranges:
            flaws.append(f"{module}: packed, but not calibrated")
            continue
        found = _scalar(f"{module}.{leaf}", checkpoint)
        if found != ranges[module]:
            flaws.append(f"{module}.{leaf}: expected {ranges[module]:.9g}, got {found:.9g}")
    return find(flaws, f"{number} input scales are the calibration's")


def _repack(subject: Subject, body: Body, master: Checkpoint) -> Finding:
    groups = fused_groups(subject, body)
    number = count(groups, "fused group")
    flaws = repack(
        master,
        body.tree.checkpoint,
        groups,
        subject.packer,
        subject.depth,
        lambda done, total: subject.told("repack", done, total, "B"),
    )
    modules = sum(len(group) for group in groups)
    return find(flaws, f"{modules} Linears in {number} fused groups, equal bytes{subject.depth.words}")


def _errors(body: Body, master: Checkpoint) -> Finding:
    number = count(body.modules, "packed Linear")
    errors = {module: relative_error(module, body, master) for module in body.modules}
    flaws = (
        f"{module}.{body.scheme.codes}: {error.value:.4f}, outside of {LOWEST} to {HIGHEST}"
        for module, error in errors.items()
        if not error.is_normal
    )
    values = [error.value for error in errors.values()]
    return find(flaws, f"{min(values):.4f} to {max(values):.4f} over {number} Linears")


def _scalar(name: str, checkpoint: Checkpoint) -> float:
    data = checkpoint.read(name)
    if len(data) != 4:
        raise ValueError(f"{name}: expected one float32, got {len(data)} bytes")
    (value,) = struct.unpack("<f", data)
    return float(value)


def _table(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.9g}" for name, value in values.items())
