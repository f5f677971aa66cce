"""Every claim about a subject, proved, and the facts that were counted on the way.

proved = prove_all(subject)
proved.outcomes, proved.ledgers, proved.lineage, proved.facts
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recipes.formats.evidence import Evidence, Proof
from recipes.formats.proofs import (
    claims_architecture,
    claims_files,
    claims_ignore,
    claims_packed,
    claims_precision,
    claims_quantization,
    claims_verbatim,
)
from recipes.formats.proofs.claim import Claim, NotGiven, Outcome, Status, prove
from recipes.formats.proofs.ledger import Ledger, ledgers
from recipes.formats.proofs.lineage import Lineage, trace
from recipes.formats.proofs.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What was found. ``lineage`` is None where base or master were not given."""

    outcomes: tuple[Outcome, ...]
    ledgers: tuple[Ledger, ...]
    lineage: Lineage | None
    facts: Mapping[str, object]

    def of(self, status: Status) -> tuple[Outcome, ...]:
        """Return the outcomes of one status."""
        return tuple(outcome for outcome in self.outcomes if outcome.status is status)

    def evidence(self) -> Evidence:
        """Return it as evidence: what was not checked is a fact, and no proof."""
        proofs = tuple(
            Proof(
                name=outcome.name,
                holds=outcome.status is Status.HOLDS,
                compared=outcome.compared,
                found=outcome.found,
            )
            for outcome in self.outcomes
            if outcome.status is not Status.NOT_CHECKED
        )
        left = {outcome.name: outcome.found for outcome in self.of(Status.NOT_CHECKED)}
        return Evidence(proofs=proofs, facts={**self.facts, "not_checked": left})


def prove_all(subject: Subject) -> Proved:
    """Prove every claim about ``subject``, and count."""
    claims = [*of_headers(subject), *of_bytes(subject)]
    outcomes = []
    for done, claim in enumerate(claims):
        subject.told(claim.name, done, len(claims), "claims")
        outcomes.append(prove(claim))
    counted = ledgers(subject)
    lineage = _lineage(subject)
    return Proved(
        outcomes=tuple(outcomes),
        ledgers=counted,
        lineage=lineage,
        facts=_facts(subject, counted, lineage),
    )


def of_headers(subject: Subject) -> Iterator[Claim]:
    """Yield the claims for which headers and small files are enough: no tensor is read."""
    yield from claims_architecture.claims(subject)
    yield from claims_precision.claims(subject)
    yield from claims_ignore.claims(subject)
    yield from claims_quantization.claims(subject)
    yield from claims_files.claims(subject)


def of_bytes(subject: Subject) -> Iterator[Claim]:
    """Yield the claims for which tensors are read."""
    yield from claims_verbatim.claims(subject)
    yield from claims_packed.claims(subject)


def _lineage(subject: Subject) -> Lineage | None:
    if isinstance(subject.base, NotGiven) or isinstance(subject.master, NotGiven):
        return None
    subject.told("lineage", 0, 0, "")
    return trace(subject.base, subject.master, subject.comparer)


def _facts(subject: Subject, counted: tuple[Ledger, ...], lineage: Lineage | None) -> dict[str, object]:
    layers = subject.architecture.layout.layers
    body = subject.body
    return {
        "quantized_linears": len(body.modules) if body else 0,
        "in_proj_ab": "nvfp4" if subject.packs_in_proj_ab else "bf16",
        "layers": {kind: layers.count(kind) for kind in sorted(set(layers))},
        "tensors": {ledger.name: ledger.totals.tensors for ledger in counted},
        "parameters": {ledger.name: ledger.totals.parameters for ledger in counted},
        "data_bytes": {ledger.name: ledger.totals.bytes for ledger in counted},
        "depth": str(subject.depth),
        **({"shortest_ignore_lists": claims_ignore.shortest_lists(body)} if body else {}),
        **({"lineage": lineage.to_json()} if lineage else {}),
    }
