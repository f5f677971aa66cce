"""Prove the claims of a release from the bytes of both trees.

Results: ``evidence.json``, one proof a claim; ``ledger.json``, what every byte is for; and
``ledger.svg``, the same as a picture. A claim that does not hold is written down like the
others; the gate decides what that means. Only a checkpoint that cannot be opened ends the
step.
"""

from recipes.formats import evidence, strict_json
from recipes.formats.proofs.ledger import LEDGER_FILE, to_json
from recipes.formats.proofs.picture import PICTURE_FILE, draw
from recipes.formats.proofs.proving import prove_all
from recipes.formats.step import Workdir
from recipes.steps.prove.inputs import read_subject


def main(work: Workdir) -> None:
    """Prove both trees against the base and the master."""
    proved = prove_all(read_subject(work))
    work.new(evidence.EVIDENCE_FILE).write_text(evidence.dump(proved.evidence()), encoding="utf-8")
    work.new(LEDGER_FILE).write_text(strict_json.dumps(to_json(proved.ledgers)), encoding="utf-8")
    work.new(PICTURE_FILE).write_text(draw(proved.ledgers), encoding="utf-8")
