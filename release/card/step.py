"""The host step ``card``: evidence and recipe facts in; README.md, LICENSE, NOTICE and serve/ out.

Params::

    {"recipe": "tiny", "kind": "nvfp4", "version": "1.0.0", "repo": "owner/name",
     "sibling_repo": "owner/other", "lock": "<digest>", "sources": {"base": "<digest>"},
     "images": {"quantize": "<digest>"}, "machine": {"cpu": "..."}, "draft": false, "card": {...},
     "floors": {"overhead": 0, "floor": 1, ...}, "gpu": true}

``signing`` ({"key": "<sha256>"}, or identity and issuer) is who signs, and is absent where nobody does.
``machine`` is where the figures were measured; it may stand in smoke's ``facts.machine``
instead, and only a draft may lack it. The digests of both repos' model files are those of the
inputs ``tree`` and ``sibling``. A draft may lack every input but ``templates``; it takes the
recipe's ``profile`` ({"serve": {...}, "sampling": {...}}) for what nobody has served.
"""

from pathlib import Path

from recipes.formats import calibration
from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from recipes.formats.evidence import parse as parse_evidence
from recipes.formats.serving.budget import Floors
from release import verdicts
from release.answered import answered
from release.card.architecture import (
    Architecture,
    Quantization,
    parse_architecture,
    parse_quantization,
    read_config,
)
from release.card.context import Context, Found, Machine, Target, build
from release.card.facts import parse_facts
from release.card.figures import MASTER, NVFP4
from release.card.ledger import read_ledgers
from release.card.licences import check, read_policy
from release.errors import ConfigError
from release.hoststep import HostStep, Inputs, Params, Result
from release.record import KINDS, Sibling
from release.reponame import RepoName
from release.tables import Table
from release.verdicts import VERDICTS_FILE

REPLIES_FILE = "replies.jsonl"
FIDELITY = "fidelity"
LICENSE_FILE = "LICENSE"
LICENSE_TEXT = "Apache-2.0"
PARAMS_FILE = Path("params")


def card(inputs: Inputs, params: Params) -> Result:
    """Render one repo's card and legal files (host step).

    Raises ProofError, GateError or ConfigError when the card would state what evidence does
    not hold; with the param ``draft`` it says "not measured" instead.
    """
    # jinja2: not before a card is rendered
    from release.card.kit import kit
    from release.card.render import render

    context = read_context(inputs, params)
    templates = inputs["templates"].folder
    check(context.licences, read_policy(templates))
    if context.facts.license != LICENSE_TEXT:
        raise ConfigError(
            f"recipe.toml: card.license: expected {LICENSE_TEXT}, got {context.facts.license}",
            why=f"templates/{LICENSE_FILE} is the text of {LICENSE_TEXT}.",
        )
    kind = context.target.kind
    return Result(
        new={
            "README.md": render(templates, f"README.{kind}.md.jinja", context).encode(),
            "NOTICE": render(templates, "NOTICE.jinja", context).encode(),
            LICENSE_FILE: (templates / LICENSE_FILE).read_bytes(),
            **kit(templates, context),
        }
    )


CARD = HostStep(card, revision=3)


def read_context(inputs: Inputs, params: Params) -> Context:
    """Parse every input of the step and put the context together."""
    table = Table(PARAMS_FILE, params)
    data: Params = table.take("card", dict)
    profile: Params = table.take("profile", dict, {})
    target = _target(table, inputs)
    machine = Machine(floors=_floors(table.take_table("floors")), gpu=table.take("gpu", bool))
    table.done()
    facts = parse_facts(data, dict(target.sources).get("base", ""))
    return build(target, facts, _found(inputs, target, profile), machine)


def _target(table: Table, inputs: Inputs) -> Target:
    kind = table.take("kind", str)
    if kind not in KINDS:
        raise table.error("kind", " or ".join(KINDS), repr(kind))
    version = table.take("version", str)
    draft = table.take("draft", bool, False)
    other = str(RepoName.parse(table.take("sibling_repo", str)))
    trees = {name: _digest(inputs, name, draft=draft) for name in ("tree", "sibling")}
    return Target(
        recipe=table.take("recipe", str),
        kind=kind,
        version=version,
        repo=str(RepoName.parse(table.take("repo", str))),
        tree=trees["tree"],
        sibling=Sibling(repo=other, version=version, tree=trees["sibling"]),
        lock=table.take("lock", str),
        sources=_named(table, "sources"),
        images=_named(table, "images"),
        machine=_named(table, "machine"),
        draft=draft,
        signing=dict(_named(table, "signing")),
    )


def _floors(table: Table) -> Floors:
    floors = Floors(
        overhead=table.take("overhead", int),
        floor=table.take("floor", int),
        startup_floor=table.take("startup_floor", int),
        swap_growth=table.take("swap_growth", int),
        pressure=table.take("pressure", float),
        return_within=table.take("return_within", int),
    )
    table.done()
    return floors


def _digest(inputs: Inputs, name: str, *, draft: bool) -> str:
    return "not built" if draft and name not in inputs else inputs[name].tree.digest


def _named(table: Table, key: str) -> tuple[tuple[str, str], ...]:
    values = table.take_table(key, optional=True)
    return tuple((name, values.take(name, str)) for name in sorted(values.keys()))


def _found(inputs: Inputs, target: Target, profile: Params) -> Found:
    draft = target.draft
    try:
        return Found(
            evidence={
                name: _evidence(inputs, name, draft=draft)
                for name in ("prove", NVFP4, MASTER, *(name for name in (FIDELITY,) if name in inputs))
            },
            verdicts=_verdicts(inputs, draft=draft),
            architecture=None if _lacks(inputs, "tree", draft) else _architecture(inputs),
            quantization=_quantization(inputs, target),
            ledgers={} if _lacks(inputs, "prove", draft) else read_ledgers(inputs["prove"].folder),
            calibration=None if _lacks(inputs, "calibrate", draft) else _calibration(inputs),
            replies={
                name: _replies(inputs, name) for name in (NVFP4, MASTER) if not _lacks(inputs, name, draft)
            },
            profile=profile,
            answered=answered(inputs),
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"the card cannot be rendered: {error}") from error


def _lacks(inputs: Inputs, name: str, draft: bool) -> bool:
    """Tell whether a draft has to do without an input. A release has them all."""
    return draft and name not in inputs


def _architecture(inputs: Inputs) -> Architecture:
    return parse_architecture(read_config(inputs["tree"].folder))


def _quantization(inputs: Inputs, target: Target) -> Quantization | None:
    quantized = "tree" if target.kind == "nvfp4" else "sibling"
    if _lacks(inputs, quantized, target.draft):
        return None
    return parse_quantization(read_config(inputs[quantized].folder))


def _calibration(inputs: Inputs) -> calibration.Calibration:
    return calibration.read(inputs["calibrate"].folder / calibration.CALIBRATION_FILE)


def _evidence(inputs: Inputs, name: str, *, draft: bool) -> Evidence:
    if _lacks(inputs, name, draft):
        return Evidence()
    return parse_evidence((inputs[name].folder / EVIDENCE_FILE).read_text())


def _verdicts(inputs: Inputs, *, draft: bool) -> verdicts.Verdicts:
    if _lacks(inputs, "gate", draft):
        return verdicts.Verdicts(gates=(), proofs=())
    return verdicts.parse((inputs["gate"].folder / VERDICTS_FILE).read_text())


def _replies(inputs: Inputs, name: str) -> int:
    """Return how many replies a smoke kept."""
    text = (inputs[name].folder / REPLIES_FILE).read_text()
    return sum(1 for line in text.splitlines() if line.strip())
