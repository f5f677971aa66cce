"""The host step ``card``: evidence and recipe facts in, README.md, LICENSE and NOTICE out.

Params::

    {"kind": "nvfp4", "version": "1.0.0", "repo": "owner/name", "sibling_repo": "owner/other",
     "lock": "<digest>", "sources": {"base": "<digest>"}, "images": {"quantize": "<digest>"},
     "machine": {"cpu": "..."}, "draft": false, "card": {...}}

``machine`` is where the figures were measured; it may stand in smoke's ``facts.machine``
instead, and only a draft may lack it. The sibling's digest is that of input ``sibling``.
"""

from collections.abc import Mapping
from pathlib import Path

from recipes.formats import calibration
from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from recipes.formats.evidence import parse as parse_evidence
from release import verdicts
from release.card.architecture import parse_architecture, parse_ignore, read_config
from release.card.context import Context, Found, Target, build
from release.card.facts import parse_facts
from release.card.figures import MASTER, NVFP4
from release.card.ledger import read_ledgers
from release.card.licences import check_closure
from release.errors import ConfigError
from release.hoststep import HostStep, Inputs, Params, Result
from release.record import KINDS, Sibling
from release.reponame import RepoName
from release.tables import Table
from release.verdicts import VERDICTS_FILE

REPLIES_FILE = "replies.jsonl"
LICENSE_FILE = "LICENSE"
PARAMS_FILE = Path("params")


def card(inputs: Inputs, params: Params) -> Result:
    """Render one repo's card and legal files (host step).

    Raises ProofError, GateError or ConfigError when the card would state what evidence does
    not hold; with the param ``draft`` it says "not measured" instead.
    """
    from release.card.render import render  # jinja2: not before a card is rendered

    context = read_context(inputs, params)
    check_closure(context.licences)
    templates = inputs["templates"].folder
    kind = context.target.kind
    return Result(
        new={
            "README.md": render(templates, f"README.{kind}.md.jinja", context).encode(),
            "NOTICE": render(templates, "NOTICE.jinja", context).encode(),
            LICENSE_FILE: (templates / LICENSE_FILE).read_bytes(),
        }
    )


CARD = HostStep(card, revision=2)


def read_context(inputs: Inputs, params: Params) -> Context:
    """Parse every input of the step and put the context together."""
    table = Table(PARAMS_FILE, params)
    data: Params = table.take("card", dict)
    target = _target(table, inputs["sibling"].tree.digest)
    table.done()
    facts = parse_facts(data, dict(target.sources).get("base", ""))
    config = read_config(inputs["tree"].folder)
    return build(
        target,
        facts,
        parse_architecture(config),
        parse_ignore(config) if target.kind == "nvfp4" else (),
        _found(inputs),
    )


def _target(table: Table, sibling: str) -> Target:
    kind = table.take("kind", str)
    if kind not in KINDS:
        raise table.error("kind", " or ".join(KINDS), repr(kind))
    version = table.take("version", str)
    other = str(RepoName.parse(table.take("sibling_repo", str)))
    return Target(
        kind=kind,
        version=version,
        repo=str(RepoName.parse(table.take("repo", str))),
        sibling=Sibling(repo=other, version=version, tree=sibling),
        lock=table.take("lock", str),
        sources=_named(table, "sources"),
        images=_named(table, "images"),
        machine=_named(table, "machine"),
        draft=table.take("draft", bool, False),
    )


def _named(table: Table, key: str) -> tuple[tuple[str, str], ...]:
    values = table.take_table(key, optional=True)
    return tuple((name, values.take(name, str)) for name in sorted(values.keys()))


def _found(inputs: Inputs) -> Found:
    try:
        return Found(
            evidence={name: _evidence(inputs[name].folder) for name in ("prove", NVFP4, MASTER)},
            verdicts=verdicts.parse((inputs["gate"].folder / VERDICTS_FILE).read_text()),
            ledgers=read_ledgers(inputs["prove"].folder),
            calibration=calibration.read(inputs["calibrate"].folder / calibration.CALIBRATION_FILE),
            replies=_replies(inputs),
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"the card cannot be rendered: {error}") from error


def _evidence(folder: Path) -> Evidence:
    return parse_evidence((folder / EVIDENCE_FILE).read_text())


def _replies(inputs: Inputs) -> Mapping[str, int]:
    """Return how many replies each smoke kept."""
    return {
        name: sum(1 for line in (inputs[name].folder / REPLIES_FILE).read_text().splitlines() if line.strip())
        for name in (NVFP4, MASTER)
    }
