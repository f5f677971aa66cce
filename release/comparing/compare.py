"""Two repos of one architecture, held against each other: bytes by class, tensors, acceptance, divergence.

That they differ is no failure: only what cannot be compared raises.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.evidence import Evidence
from recipes.formats.packing import scheme_of
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.distance import Distance, Verdict, distances
from recipes.formats.proofs.ledger import Line
from recipes.formats.qwen3_5 import kind_of
from release.comparing.divergence import measure
from release.comparing.sides import Side, open_side, refuse_unlike
from release.digest import Json
from release.errors import UsageError
from release.report.proofs import stdout
from release.report.terminal import rows_table, size

FORMAT = 1
NOT_MEASURED = "not measured"
NO_WEIGHTS = "not compared: the weights of a Hub's repo are not downloaded"
FIGURES = ("kl_mean", "kl_p99", "top1_agreement", "perplexity_master", "perplexity_nvfp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was typed. ``texts`` is empty where no divergence was asked for."""

    first: str
    second: str
    texts: str = ""
    quick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was found. ``tensors`` is None where weights of a side are not here."""

    first: Side
    second: Side
    tensors: Sequence[Distance] | None
    divergence: Evidence | None


def compare_repos(asked: Asked, *, as_json: bool) -> None:
    """Compare two repos and print what was found.

    Raises UsageError, ConfigError, NetworkError or BuildError, each naming what cannot be compared.
    """
    found = compare(asked)
    if as_json:
        sys.stdout.write(json.dumps(to_json(found), indent=1, sort_keys=True) + "\n")
    else:
        _print(found)


def compare(asked: Asked) -> Compared:
    """Open both repos and find out how far they are from each other."""
    first, second = open_side(asked.first), open_side(asked.second)
    refuse_unlike(first, second)
    here = first.checkpoint is not None and second.checkpoint is not None
    if asked.texts and not here:
        raise UsageError("--kl runs both models: both must be folders", hint="download both repos first")
    tensors = divergence = None
    if first.checkpoint is not None and second.checkpoint is not None:
        comparer = Comparer(Depth.QUICK if asked.quick else Depth.FULL)
        tensors = list(distances(first.checkpoint, second.checkpoint, comparer))
        if asked.texts:
            divergence = measure(first.checkpoint.root, second.checkpoint.root, Path(asked.texts))
    return Compared(first=first, second=second, tensors=tensors, divergence=divergence)


def to_json(found: Compared) -> Json:
    """Return what was found as one JSON table."""
    sides = (found.first, found.second)
    told = found.divergence
    return {
        "format": FORMAT,
        "repos": [side.name for side in sides],
        "ledger": {side.name: _ledger_json(side) for side in sides},
        "tensors": None
        if found.tensors is None
        else {d.name: {"verdict": str(d.verdict), "relative_error": d.error} for d in found.tensors},
        "acceptance_length": {side.name: side.acceptance for side in sides},
        "divergence": None if told is None else {figure.name: figure.value for figure in told.measurements},
    }


def _ledger(side: Side) -> Mapping[str, Line]:
    """Return the ledger of a tree by class of module."""
    scheme, lines = scheme_of(side.tensors), dict[str, Line]()
    for name, tensor in side.tensors.items():
        lines.setdefault(str(kind_of(name)), Line()).add(tensor, scheme)
    return lines


def _ledger_json(side: Side) -> Json:
    return {
        kind: {"tensors": line.tensors, "parameters": line.parameters, "bytes": line.bytes}
        for kind, line in _ledger(side).items()
    }


def _print(found: Compared) -> None:
    console = stdout()
    names = f"{found.first.name} and {found.second.name}"
    columns = ("class", "first", "second", "difference", "stored as", "tensors", "largest relative error")
    console.print(rows_table(names, columns, list(_rows(found))))
    said = [_length(side) for side in (found.first, found.second)]
    console.print(f"acceptance length: {said[0]} and {said[1]}")
    if found.tensors is None:
        console.print(f"tensors: {NO_WEIGHTS}")
    console.print(f"divergence: {_divergence(found.divergence)}")


def _rows(found: Compared) -> Iterator[tuple[str, ...]]:
    ours, theirs = _ledger(found.first), _ledger(found.second)
    for kind in sorted(ours.keys() | theirs.keys()):
        first, second = ours.get(kind, Line()), theirs.get(kind, Line())
        dtypes = " → ".join(", ".join(sorted(line.dtypes)) or "none" for line in (first, second))
        mine = [d for d in found.tensors or () if str(kind_of(d.name)) == kind]
        change = f"{(second.bytes - first.bytes) / first.bytes:+.1%}" if first.bytes else "new"
        yield kind, size(first.bytes), size(second.bytes), change, dtypes, _counted(mine), _largest(mine)


def _counted(distances: Sequence[Distance]) -> str:
    """Return how many tensors there are of each verdict."""
    counts = {verdict: sum(d.verdict is verdict for d in distances) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "-"


def _largest(distances: Sequence[Distance]) -> str:
    worst = max((d for d in distances if d.error is not None), key=lambda d: d.error or 0.0, default=None)
    return "-" if worst is None else f"{worst.error:.4g} ({worst.name})"


def _length(side: Side) -> str:
    return NOT_MEASURED if side.acceptance is None else f"{side.acceptance:.4g}"


def _divergence(found: Evidence | None) -> str:
    if found is None:
        return f"{NOT_MEASURED}; --kl TEXTS measures it"
    said = ((name, found.figure(name)) for name in FIGURES)
    return ", ".join(f"{name} {figure.value:.4g}" for name, figure in said if figure)
