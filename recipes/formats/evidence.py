"""Evidence: what was measured or proved, in the one form that cards may quote.

{"format": 1, "measurements": [{"name": "acceptance_length", "value": 2.61,
"unit": "tokens/draft", "n": 48, "how": "1 + accepted/drafts ..."}],
"proofs": [{"name": "mtp-verbatim", "holds": true, "compared": "...", "found": "..."}],
"facts": {...}}
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

EVIDENCE_FILE = "evidence.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured figure. ``n`` is the number of samples behind ``value``."""

    name: str
    value: float
    unit: str
    n: int
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One claim checked from bytes: what was compared and what was found."""

    name: str
    holds: bool
    compared: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one step found out. ``facts`` are counted or read, never measured."""

    measurements: tuple[Measurement, ...] = ()
    proofs: tuple[Proof, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    def figure(self, name: str) -> Measurement | None:
        """Return the measurement called ``name``, or None when there is none."""
        return next((m for m in self.measurements if m.name == name), None)

    def failed(self) -> tuple[Proof, ...]:
        """Return the proofs that do not hold."""
        return tuple(proof for proof in self.proofs if not proof.holds)


def dump(evidence: Evidence) -> str:
    """Return ``evidence`` as JSON text with sorted keys and a final newline."""
    _refuse_twins(m.name for m in evidence.measurements)
    _refuse_twins(p.name for p in evidence.proofs)
    data = {
        "format": FORMAT,
        "measurements": [asdict(m) for m in evidence.measurements],
        "proofs": [asdict(p) for p in evidence.proofs],
        "facts": dict(evidence.facts),
    }
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def parse(text: str) -> Evidence:
    """Parse evidence text. Raises ValueError when it is not of this format."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{EVIDENCE_FILE}: expected format {FORMAT}")
    try:
        return Evidence(
            measurements=tuple(Measurement(**m) for m in data["measurements"]),
            proofs=tuple(Proof(**p) for p in data["proofs"]),
            facts=data["facts"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{EVIDENCE_FILE}: {error}") from error


def _refuse_twins(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{EVIDENCE_FILE}: {name} is given twice")
        seen.add(name)
