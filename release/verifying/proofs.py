"""The proofs of a published repo: from headers, and with ``--bytes`` from what was left alone.

``of_headers`` reads headers by ranges. ``of_bytes`` reads the ranges of draft head and vision tower
here and in the base, and those of lm_head, norms and conv1d here and in the master.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.architecture import parse_architecture
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.proofs import claims_verbatim, proving, subject
from recipes.formats.proofs.claim import NotGiven, Outcome, Status, prove
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.subject import MASTER, NVFP4, Subject, Tree, of_kind
from recipes.formats.qwen3_5 import Kind
from release.verifying import mirror
from release.verifying.checks import Check
from release.verifying.published import Published

OF_BASE = (Kind.MTP, Kind.VISION)
OF_MASTER = (Kind.LM_HEAD, Kind.NORM, Kind.CONV1D)

CLAIMS = ("mtp-verbatim-", "vision-verbatim-", "lm-head-verbatim", "norms-verbatim", "conv1d-verbatim")
"""The claims that the bytes of these classes answer."""

UNREAD = NotGiven("no tensor is read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A checkpoint that is read: published, by ranges into ``folder``; or with None, that folder."""

    name: str
    published: Published | None
    folder: Path


Counterpart = Side | NotGiven
Told = Callable[[str, int, int], None]
"""Learns of bytes read: of whom, done, total."""


def of_headers(published: Published, kind: str, folder: Path) -> Iterator[Check]:
    """Prove what headers and texts show; they are laid out in ``folder``."""
    try:
        mirror.lay_out(published, folder)
        claims = proving.of_headers(_subject(folder, kind, UNREAD, UNREAD))
        outcomes = [prove(claim) for claim in claims]
    except (ValueError, OSError) as error:
        yield Check(name="the headers read", holds=False, found=str(error))
        return
    yield from _checks("proofs from headers", outcomes)


def plan(ours: Side, kind: str, base: Counterpart, master: Counterpart) -> "Reading":
    """Return which ranges of each side are read. Raises ValueError for a checkpoint that does not read."""
    pairs = ((base, OF_BASE), (master, OF_MASTER))
    opened = {side.name: _open(side) for side in (ours, base, master) if isinstance(side, Side)}
    kinds = [kind for side, kinds in pairs if isinstance(side, Side) for kind in kinds]
    ranges = [(ours, mirror.spans(opened[ours.name], _names(opened[ours.name], kinds)))]
    for side, kinds_there in pairs:
        if isinstance(side, Side) and side.published is not None:
            names = _names(opened[side.name], kinds_there)
            ranges.append((side, mirror.spans(opened[side.name], names)))
    return Reading(kind=kind, ours=ours, base=base, master=master, ranges=tuple(ranges))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is about to be read: ranges (file, begin, end) of each side."""

    kind: str
    ours: Side
    base: Counterpart
    master: Counterpart
    ranges: tuple[tuple[Side, tuple[tuple[str, int, int], ...]], ...]

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """The bytes to read of each side."""
        return tuple(
            (side.name, sum(end - begin for _, begin, end in ranges)) for side, ranges in self.ranges
        )

    def prove(self, told: Told) -> Iterator[Check]:
        """Read the ranges and hold them against each other."""
        for side, ranges in self.ranges:
            if side.published is not None:
                _fill(side, side.published, ranges, told)
        made = _subject(self.ours.folder, self.kind, _counterpart(self.base), _counterpart(self.master))
        claims = [claim for claim in claims_verbatim.claims(made) if claim.name.startswith(CLAIMS)]
        yield from _checks("proofs from bytes", [prove(claim) for claim in claims])


def _fill(side: Side, published: Published, ranges: tuple[tuple[str, int, int], ...], told: Told) -> None:
    done, total = 0, sum(end - begin for _, begin, end in ranges)

    def read(count: int) -> None:
        nonlocal done
        done += count
        told(side.name, done, total)

    mirror.fill(published, side.folder, ranges, read)


def _open(side: Side) -> Checkpoint:
    if side.published is not None and not side.folder.exists():
        mirror.lay_out(side.published, side.folder)
    return open_checkpoint(side.folder)


def _counterpart(side: Counterpart) -> Checkpoint | NotGiven:
    return _open(side) if isinstance(side, Side) else side


def _names(checkpoint: Checkpoint, kinds: "list[Kind] | tuple[Kind, ...]") -> list[str]:
    return [name for kind in kinds for name in of_kind(kind, checkpoint)]


def _subject(folder: Path, kind: str, base: Checkpoint | NotGiven, master: Checkpoint | NotGiven) -> Subject:
    tree = subject.read_tree(folder, NVFP4 if kind == NVFP4 else MASTER)
    return Subject(
        architecture=parse_architecture(tree.config),
        body=subject.read_body(tree) if kind == NVFP4 else None,
        plain=None if kind == NVFP4 else Tree(name=MASTER, checkpoint=tree.checkpoint, config=tree.config),
        base=base,
        master=master,
        calibration=UNREAD,
        template=NotGiven("the lock is not read"),
        recipe=NotGiven("the recipe is not read"),
        is_release=True,
        comparer=Comparer(Depth.FULL),
        told=lambda *_: None,
    )


def _checks(name: str, outcomes: list[Outcome]) -> Iterator[Check]:
    """Yield what fails or was not checked by name, and one line for all that holds."""
    for outcome in outcomes:
        if outcome.status is Status.FAILS:
            yield Check(name=outcome.name, holds=False, found=outcome.found)
    left = [outcome for outcome in outcomes if outcome.status is Status.NOT_CHECKED]
    for why in dict.fromkeys(outcome.found for outcome in left):
        named = ", ".join(outcome.name for outcome in left if outcome.found == why)
        yield Check(name=name, holds=None, found=f"not checked, as {why}: {named}")
    held = [outcome.name for outcome in outcomes if outcome.status is Status.HOLDS]
    if held:
        yield Check(name=name, holds=True, found=f"{len(held)} hold: {', '.join(held)}")
