"""What a published repo says of itself, sentence by sentence, and whether it holds. Pure.

A check is True, False, or None: not checked, because nobody gave what it is held against.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from release import allowlist
from release.allowlist import ATTESTATION, ENVELOPE, PROVENANCE, SIGNATURE
from release.attesting import agree
from release.hub.record import SUMS_FILE
from release.record import RECORD_FILE
from release.signer import IdentitySigner, Signer
from release.verifying.published import Published, parsed

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One sentence about a published repo, whether it holds, and what was found."""

    name: str
    holds: bool | None
    found: str


def check(published: Published) -> Iterator[Check]:
    """Check one repo by itself: sums, names, record, promise."""
    sums = published.sums
    wrong = [path for path, digest in sums.items() if published.digest(path) != digest]
    unnamed = set(published.there) - set(sums) - {SUMS_FILE, *ATTESTATION}
    yield judged(
        "every file is the one of SHA256SUMS",
        sorted({*wrong, *unnamed}) if sums else [f"no {SUMS_FILE}"],
        f"{len(sums)} files",
    )
    strange = [path for path in sorted(published.there) if not allowlist.allowed(path)]
    yield judged("loading it runs no file of it", strange, "data, text, and serve/ for people")
    record = published.record
    said = f"{record.repo} v{record.version}" if record else f"no {RECORD_FILE}"
    yield Check(
        name="the record is of this repo and version",
        holds=said == f"{published.repo} {published.tag}",
        found=said,
    )
    if record:
        made = published.model.digest
        yield Check(
            name="the promised bytes are there",
            holds=made == record.promised.get(record.kind),
            found=f"tree {made[:12]}",
        )


def attestation(published: Published, signer: Signer | None) -> Iterator[Check]:
    """Check signature and provenance; who signed is checked only against ``signer``."""
    yield from _signature(published, signer)
    yield from _provenance(published, signer)


def sibling(published: Published, data: bytes | None) -> Iterator[Check]:
    """Check that the record of the other repo of the release promises the same."""
    record = published.record
    if record is None:
        return
    found = parsed(data)
    agrees = found is not None and found.promises(record) and found.sibling.repo == published.repo
    there = f"{record.sibling.repo} v{record.sibling.version}"
    yield Check(
        name="the sibling promises the same",
        holds=agrees,
        found=there if data is not None else f"{there} is not there",
    )


def judged(name: str, flaws: list[str], found: str) -> Check:
    """Return a check that holds when there are no flaws, and names the first ones."""
    more = f" and {len(flaws) - SHOWN} more" if len(flaws) > SHOWN else ""
    return Check(name=name, holds=not flaws, found=", ".join(flaws[:SHOWN]) + more if flaws else found)


def _signature(published: Published, signer: Signer | None) -> Iterator[Check]:
    signature = published.read(SIGNATURE)
    if signature is None:
        yield Check(
            name="signed",
            holds=None if signer is None else False,
            found="not signed: who may write to the repo is all that vouches for it",
        )
        return
    flaws = list(agree.signature_flaws(signature, published.digests, signer))
    yield judged("the signature is of exactly these files", flaws, f"{len(published.there) - 1} files")
    named = agree.signer_named(signature)
    yield Check(
        name="signed",
        holds=None if signer is None else not flaws,
        found=f"not checked who signed: it says {named}" if signer is None else f"by {_name(signer)}",
    )


def _provenance(published: Published, signer: Signer | None) -> Iterator[Check]:
    statement, envelope = (published.read(path) for path in (PROVENANCE, ENVELOPE))
    if statement is None:
        yield Check(
            name="the provenance is of these files",
            holds=None if SIGNATURE not in published.there and envelope is None else False,
            found=f"no {PROVENANCE}",
        )
        return
    record = published.record
    flaws = list(agree.provenance_flaws(statement, published.digests, record)) if record else ["no record"]
    if envelope is not None:
        flaws += agree.envelope_flaws(envelope, statement, signer)
    elif SIGNATURE in published.there:
        flaws.append(f"no {ENVELOPE}")
    yield judged("the provenance is of these files", flaws, "SLSA v1" + (", signed" if envelope else ""))


def _name(signer: Signer) -> str:
    return signer.identity if isinstance(signer, IdentitySigner) else str(signer)
