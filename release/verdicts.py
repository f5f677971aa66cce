"""Verdicts: what the gates said and which proofs hold, as the card and the owner read it.

{"format": 2,
 "gates": [{"name": "acceptance-length", "outcome": "pass", "value": 2.61, "baseline": null,
            "threshold": 2.5, "direction": "at_least", "unit": "tokens/draft", "n": 48,
            "interval": null, "how": "1 + accepted / drafts ...",
            "sentence": "smoke-nvfp4.acceptance_length is 2.61 tokens/draft, ..."}],
 "proofs": [{"name": "mtp-verbatim-nvfp4", "holds": true, "found": "15 of 15 equal"}]}
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from recipes.formats.evidence import Evidence
from release.errors import GateError, ProofError

VERDICTS_FILE = "verdicts.json"
FORMAT = 2


class Direction(StrEnum):
    """On which side of its threshold a figure has to be."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"

    @property
    def words(self) -> str:
        """The direction as a sentence says it."""
        return self.value.replace("_", " ")


class Outcome(StrEnum):
    """What a gate says. Only a pass lets a release go on."""

    PASS = "pass"  # noqa: S105 - a word
    FAIL = "fail"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One gate, judged. ``value`` is None when the figure was not measured.

    With a ``baseline`` the threshold is a share: value / baseline is what it is held against,
    or the lower end of ``interval`` where the gate asks for one. ``how`` is the measurement's.
    """

    name: str
    outcome: Outcome
    value: float | None
    baseline: float | None
    threshold: float
    direction: Direction
    unit: str
    n: int
    sentence: str
    interval: tuple[float, float] | None = None
    how: str = ""

    @property
    def holds(self) -> bool:
        """Tell whether the gate is passed."""
        return self.outcome is Outcome.PASS

    @property
    def measured(self) -> float | None:
        """The number that was held against the threshold."""
        if self.value is None or self.baseline is None:
            return self.value
        return self.value / self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A proof's outcome, without what was compared."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """All gates and proofs of one release."""

    gates: tuple[Verdict, ...]
    proofs: tuple[Proved, ...]


def dump(verdicts: Verdicts) -> str:
    """Return the verdicts as JSON text with sorted keys, sorted by name, and a final newline."""
    data = {
        "format": FORMAT,
        "gates": [asdict(gate) for gate in sorted(verdicts.gates, key=lambda gate: gate.name)],
        "proofs": [asdict(proof) for proof in sorted(verdicts.proofs, key=lambda proof: proof.name)],
    }
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def parse(text: str) -> Verdicts:
    """Parse verdicts. Raises ValueError when the text is not of this format."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{VERDICTS_FILE}: expected format {FORMAT}")
    try:
        gates = tuple(_verdict(gate) for gate in data["gates"])
        return Verdicts(gates=gates, proofs=tuple(Proved(**proof) for proof in data["proofs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{VERDICTS_FILE}: {error}") from error


def _verdict(data: dict[str, object]) -> Verdict:
    read: dict[str, object] = {
        "direction": Direction(str(data["direction"])),
        "outcome": Outcome(str(data["outcome"])),
    }
    match data.get("interval"):
        case [float(low), float(high)]:
            read["interval"] = (low, high)
    return Verdict(**{**data, **read})  # type: ignore[arg-type]


def require(verdicts: Verdicts, option: str = "") -> None:
    """Raise GateError naming each failed gate with its figure and its threshold.

    ``option`` is what a command needs to mean this line, such as `` --recipe name``.
    """
    failed = [gate for gate in verdicts.gates if not gate.holds]
    if failed:
        lines = "\n".join(f"  {gate.name}: {_said(gate)}" for gate in failed)
        raise GateError(
            f"{len(failed)} of {len(verdicts.gates)} gates failed:\n{lines}",
            why="A release says nothing that its figures do not hold.",
            hint=f"read how it was measured with: invoke log smoke-nvfp4{option}",
        )


def _said(gate: Verdict) -> str:
    return gate.sentence if gate.outcome is Outcome.FAIL else f"{gate.outcome}: {gate.sentence}"


def require_proofs(evidence: Evidence, option: str = "") -> None:
    """Raise ProofError naming each proof that does not hold, and what was found."""
    outcomes = (Proved(name=proof.name, holds=proof.holds, found=proof.found) for proof in evidence.proofs)
    refuse_failed(outcomes, option)


def refuse_failed(proofs: Iterable[Proved], option: str = "") -> None:
    """Raise ProofError when one of ``proofs`` does not hold."""
    failed = [proof for proof in proofs if not proof.holds]
    if failed:
        lines = "\n".join(f"  {proof.name}: {proof.found}" for proof in failed)
        raise ProofError(
            f"{len(failed)} proofs do not hold:\n{lines}",
            why="The card would claim what the bytes do not show.",
            hint=f"see what was compared with: invoke log prove{option}",
        )
