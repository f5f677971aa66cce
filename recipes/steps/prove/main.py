"""Prove the claims of a release from the bytes of both trees.

Results: ``evidence.json``, one proof a claim, and ``ledger.json``. A claim that does not
hold is written down like the others; the gate decides what that means. Only a checkpoint
that cannot be opened ends the step.
"""

from collections.abc import Iterator

from recipes.formats import evidence, progress, strict_json
from recipes.formats.evidence import Evidence, Proof
from recipes.formats.step import Workdir
from recipes.steps.prove import ledger, proofs_config, proofs_nvfp4, proofs_verbatim
from recipes.steps.prove.claim import Claim, prove
from recipes.steps.prove.trees import Trees, open_trees


def main(work: Workdir) -> None:
    """Prove both trees against the base and the master."""
    trees = open_trees(work)
    asked = work.params.get("in_proj_ab")
    proofs = tuple(_prove_all([*_claims(trees, asked if isinstance(asked, str) else None)]))
    result = Evidence(proofs=proofs, facts=_facts(trees))
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(result), encoding="utf-8")
    work.new(ledger.LEDGER_FILE).write_text(strict_json.dumps(ledger.ledger(trees)), encoding="utf-8")


def _claims(trees: Trees, in_proj_ab: str | None) -> Iterator[Claim]:
    yield from proofs_verbatim.claims(trees)
    yield from proofs_nvfp4.claims(trees, in_proj_ab)
    yield from proofs_config.claims(trees)


def _prove_all(claims: list[Claim]) -> Iterator[Proof]:
    for done, claim in enumerate(claims):
        progress.update(claim.name, done, len(claims), "claims")
        yield prove(claim)


def _facts(trees: Trees) -> dict[str, object]:
    lines = {name: ledger.totals(p.tensor for p in tree.tensors.values()) for name, tree in trees.releases}
    layers = trees.layout.layers
    return {
        "quantized_linears": len(trees.quantized()),
        "in_proj_ab": "nvfp4" if proofs_nvfp4.packs_in_proj_ab(trees) else "bf16",
        "layers": {kind: layers.count(kind) for kind in sorted(set(layers))},
        "tensors": {name: line.tensors for name, line in lines.items()},
        "parameters": {name: line.parameters for name, line in lines.items()},
        "data_bytes": {name: line.bytes for name, line in lines.items()},
    }
