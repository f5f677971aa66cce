"""Claims about the bytes of the packed body: usable by an engine, and what the master packs to."""

import struct
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby
from math import isfinite

import numpy as np

from recipes.formats.calibration import Calibration
from recipes.formats.checkpoint import Checkpoint
from recipes.formats.ignore import fused_name
from recipes.formats.packing import MODELOPT
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, count, find, given
from recipes.formats.proofs.error import HIGHEST, LOWEST, relative_error
from recipes.formats.proofs.repack import repack
from recipes.formats.proofs.subject import Body, Subject

# e4m3fn bits of the finite numbers above zero; 0x7F is NaN, 0x80 and up are negative.
_E4M3_FIRST, _E4M3_LAST = 0x01, 0x7E


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about what is packed; none for a tree that packs nothing."""
    body = subject.body
    if body is None:
        return
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
    groups = fused_groups(subject, body) if subject.is_release else _engine_groups(subject, body)
    number = count(groups, "fused group")
    flaws = [flaw for group in groups for flaw in _group_flaws(group, body)]
    return find(flaws, f"{number} fused groups")


def _engine_groups(subject: Subject, body: Body) -> tuple[tuple[str, ...], ...]:
    """Return the groups that engines fuse: parts of ours, and all that another packer must heed."""
    return tuple(
        tuple(parts)
        for group in fused_groups(subject, body)
        for _, parts in groupby(sorted(group, key=fused_name), key=fused_name)
    )


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
