"""The context of a card: everything that its template may say, decided before it is rendered.

Pure: evidence, ledgers, verdicts and the recipe's facts come in, one frozen value comes out.
What the card would claim without evidence is refused here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from recipes.formats.calibration import Calibration
from recipes.formats.evidence import Evidence
from recipes.formats.qwen3_5 import Kind
from recipes.formats.serving.budget import Floors
from recipes.formats.serving.kernel import arithmetic
from release.answered import Answered
from release.card.architecture import Architecture, Quantization
from release.card.facts import CardFacts, DraftHead
from release.card.fidelity import Fidelity, read_fidelity
from release.card.figures import MASTER, NVFP4, Figure, How, Row, hows, required, rows
from release.card.ledger import Ledger
from release.card.licences import Licensed, closure
from release.card.lineage import Lineage, read_lineage
from release.card.markdown import escape
from release.card.profile import Profile, read_profile
from release.card.unmeasured import UNMEASURED, Unmeasured
from release.digest import Json
from release.errors import ConfigError, GateError, ProofError
from release.record import Sibling
from release.verdicts import Proved, Verdict, Verdicts, refuse_failed, require

NEVER_QUANTIZED = (Kind.LM_HEAD, Kind.MTP, Kind.VISION, Kind.CONV1D)
"""The BF16-head invariant: kinds that no packed byte may be found in."""

_SCHEMES = {
    "W4A16": "W4A16: packed weights, activations in 16 bits; input scales are not read",
    "W4A4": "W4A4: packed weights and activations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which repo the card is for. ``tree`` is the digest of its model files."""

    recipe: str
    kind: str
    version: str
    repo: str
    tree: str
    sibling: Sibling
    lock: str
    sources: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]
    draft: bool
    signing: Mapping[str, str] = field(default_factory=dict)
    """Who signs: a key by its sha256, or an identity and its issuer; empty when nobody does."""

    @property
    def repos(self) -> Mapping[str, str]:
        """The two repos by kind."""
        other = "master" if self.kind == "nvfp4" else "nvfp4"
        return {self.kind: self.repo, other: self.sibling.repo}

    @property
    def trees(self) -> Mapping[str, str]:
        """The digests of both repos' model files by kind."""
        other = "master" if self.kind == "nvfp4" else "nvfp4"
        return {self.kind: self.tree, other: self.sibling.tree}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the steps found out: the card quotes nothing else.

    ``profile`` is the recipe's, for the draft of what was not served. None is for drafts too.
    """

    evidence: Mapping[str, Evidence]
    verdicts: Verdicts
    architecture: Architecture | None
    quantization: Quantization | None
    ledgers: Mapping[str, Ledger]
    calibration: Calibration | None
    replies: Mapping[str, int]
    profile: Mapping[str, Json]
    answered: Answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the recipe says of machines that serve: memory to leave free, in bytes, and whether by a GPU."""

    floors: Floors
    gpu: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationLine:
    """The calibration in words; the ranges themselves are published as a file."""

    rows: int
    tokens: int
    max_seq_len: int
    groups: int
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a card's template may say. Every text in it is safe inside Markdown."""

    target: Target
    facts: CardFacts
    licences: tuple[Licensed, ...]
    architecture: Architecture | Unmeasured
    lineage: Lineage | None
    quantization: Quantization | Unmeasured
    gates_packed: bool
    ledgers: Mapping[str, Ledger | Unmeasured]
    calibration: CalibrationLine | Unmeasured
    performance: tuple[Row, ...]
    acceptance: Mapping[str, Figure]
    fidelity: Fidelity
    machine: tuple[tuple[str, str], ...]
    gates: tuple[Verdict, ...]
    proofs: tuple[Proved, ...]
    replies: Mapping[str, int | Unmeasured]
    profile: Profile
    served: bool
    serve_command: tuple[str, ...]
    floors: Floors
    gpu: bool
    answered: Answered

    @property
    def ledger(self) -> Ledger | Unmeasured:
        """The ledger of the tree that this card is for."""
        return self.ledgers[self.target.kind]

    @property
    def hows(self) -> tuple[How, ...]:
        """How the rows of the performance table were measured."""
        return hows(self.performance)

    def proved(self, name: str) -> bool:
        """Tell whether the proof called ``name`` was made and holds."""
        return any(proof.holds for proof in self.proofs if proof.name == name)


def build(target: Target, facts: CardFacts, found: Found, machine: Machine) -> Context:
    """Put the context together.

    Raises ProofError, GateError or ConfigError when the card would state what the evidence
    does not hold, unless the card is a draft: then it says "not measured".
    """
    smoke = found.evidence[f"smoke-{target.kind}"]
    profile = read_profile(f"smoke-{target.kind}", smoke, found.profile if target.draft else None)
    if not target.draft:
        _refuse_missing_ledgers(found.ledgers)
        require(found.verdicts)
        _refuse_unproved(target, facts, found)
    return Context(
        target=target,
        facts=facts,
        licences=closure(facts),
        architecture=found.architecture or UNMEASURED,
        lineage=read_lineage(found.evidence["prove"].facts),
        quantization=found.quantization or UNMEASURED,
        gates_packed=found.evidence["prove"].facts.get("in_proj_ab") == "nvfp4",
        ledgers={kind: found.ledgers.get(kind, UNMEASURED) for kind in ("master", "nvfp4")},
        calibration=_calibration(found.calibration) if found.calibration else UNMEASURED,
        performance=rows(found.evidence[NVFP4], found.evidence["smoke-master"]),
        acceptance=required(found.evidence, draft=target.draft),
        fidelity=read_fidelity(found.evidence.get("fidelity")),
        machine=_machine(found.evidence[NVFP4], target),
        gates=tuple(_escaped(gate) for gate in found.verdicts.gates),
        proofs=tuple(_escaped_proof(proof) for proof in found.verdicts.proofs),
        replies={name: found.replies.get(name, UNMEASURED) for name in (NVFP4, MASTER)},
        profile=profile,
        served="profile" in smoke.facts,
        serve_command=profile.command(target.repo, target.version, facts.hub, facts.serve_env),
        floors=machine.floors,
        gpu=machine.gpu,
        answered=_escaped_answers(found.answered),
    )


def _refuse_missing_ledgers(ledgers: Mapping[str, Ledger]) -> None:
    for kind in ("master", "nvfp4"):
        if kind not in ledgers:
            raise ConfigError(
                f"prove/ledger.json: trees: expected {kind}, got {', '.join(ledgers) or 'nothing'}"
            )


def _refuse_unproved(target: Target, facts: CardFacts, found: Found) -> None:
    head = f"mtp-verbatim-{target.kind}"
    realigned = facts.draft_head is DraftHead.REALIGNED
    refuse_failed(proof for proof in found.verdicts.proofs if not (realigned and proof.name == head))
    outcome = {proof.name: proof.holds for proof in found.verdicts.proofs}
    claims = {head: not realigned}
    claims |= {f"vision-verbatim-{target.kind}": True} if facts.vision_frozen else {}
    for name, claimed in claims.items():
        if outcome.get(name) is not claimed:
            told = {True: "holds", False: "does not hold", None: "was not made"}[outcome.get(name)]
            raise ProofError(
                f"the recipe's words for the card and proof {name} disagree: the proof {told}",
                hint="read it with: invoke log prove, or correct draft_head or vision_frozen in recipe.toml",
            )
    ledger = found.ledgers[target.kind]
    for kind in NEVER_QUANTIZED:
        if ledger.find(kind) and not ledger.all_bf16(kind):
            raise ProofError(
                f"{kind} is not all BF16 in the {target.kind} tree, and the card says that it is"
            )


def _calibration(found: Calibration) -> CalibrationLine:
    return CalibrationLine(
        rows=found.rows,
        tokens=found.tokens,
        max_seq_len=found.max_seq_len,
        groups=len(found.ranges),
        versions=tuple((escape(name), escape(value)) for name, value in sorted(found.versions.items())),
    )


def _machine(smoke: Evidence, target: Target) -> tuple[tuple[str, str], ...]:
    """Return the machine and the engine that the figures were measured on."""
    facts, told = smoke.facts, smoke.facts.get("machine")
    machine = tuple(sorted((str(k), str(v)) for k, v in told.items())) if isinstance(told, dict) else ()
    if not (machine or target.machine or target.draft):
        raise GateError(
            f"{NVFP4}: facts.machine is missing: on what were the figures measured?",
            why="A figure without its machine says nothing.",
        )
    engine = " ".join(str(facts[key]) for key in ("engine", "engine_version") if facts.get(key))
    known = machine or (target.machine if smoke.measurements else ())
    kernel = str(facts.get("kernel") or "")
    rows = (*known, ("server", engine), ("kernel", kernel), ("NVFP4 is computed as", scheme(kernel)))
    return tuple((escape(name), escape(value)) for name, value in rows if value)


def scheme(kernel: str) -> str:
    """Return what a kernel does with activations, told by its name; nothing for one not known."""
    return _SCHEMES.get(arithmetic(kernel) or "", "")


def _escaped(gate: Verdict) -> Verdict:
    return replace(gate, unit=escape(gate.unit), sentence=escape(gate.sentence), how=escape(gate.how))


def _escaped_answers(found: Answered) -> Answered:
    return Answered(
        rows=tuple(
            replace(row, **{item.name: escape(str(getattr(row, item.name))) for item in fields(row)})
            for row in found.rows
        ),
        unasked=tuple((escape(part), escape(why)) for part, why in found.unasked),
    )


def _escaped_proof(proof: Proved) -> Proved:
    return Proved(name=proof.name, holds=proof.holds, found=escape(proof.found))
