"""The card's table of fidelity: one row for all texts, one for each domain. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from recipes.formats.evidence import Evidence, Measurement
from release.card.figures import number
from release.card.markdown import escape
from release.card.unmeasured import NOT_MEASURED
from release.errors import ConfigError

ALL = "all"
FIRST = "kl_mean"
VISION = "vision_relative_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was found over the texts of one domain, in words."""

    domain: str
    positions: str
    kl_mean: str
    kl_median: str
    kl_p99: str
    top1: str
    master: str
    nvfp4: str
    delta: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How far the release is from its master. ``rows`` is empty where it was not measured."""

    rows: tuple[Row, ...]
    computed_as: str
    vision: str


def read_fidelity(found: Evidence | None) -> Fidelity:
    """Put the table together; None is a recipe that measures none.

    Raises ConfigError where figures of one domain were taken over different positions.
    """
    evidence = found or Evidence()
    _refuse_uneven(evidence)
    tower = evidence.figure(VISION)
    return Fidelity(
        rows=tuple(_rows(evidence)),
        computed_as=escape(str(evidence.facts.get("computed_as", NOT_MEASURED))),
        vision=f"{number(tower.value)} (n={tower.n}: {escape(tower.how)})" if tower else NOT_MEASURED,
    )


def _rows(evidence: Evidence) -> Iterator[Row]:
    for figure in evidence.measurements:
        name, _, domain = figure.name.partition(".")
        if name == FIRST:
            yield _row(evidence, figure, domain)


def _row(evidence: Evidence, mean: Measurement, domain: str) -> Row:
    def said(name: str) -> str:
        found = _find(evidence, name, domain)
        return number(found.value) if found else NOT_MEASURED

    top1, ratio = _find(evidence, "top1_agreement", domain), _find(evidence, "perplexity_ratio", domain)
    return Row(
        domain=escape(domain or ALL),
        positions=f"{mean.n:,}",
        kl_mean=said("kl_mean"),
        kl_median=said("kl_median"),
        kl_p99=said("kl_p99"),
        top1=f"{top1.value:.2%}" if top1 else NOT_MEASURED,
        master=said("perplexity_master"),
        nvfp4=said("perplexity_nvfp4"),
        delta=f"{ratio.value - 1:+.2%}" if ratio else NOT_MEASURED,
    )


def _find(evidence: Evidence, name: str, domain: str) -> Measurement | None:
    return evidence.figure(f"{name}.{domain}" if domain else name)


def _refuse_uneven(evidence: Evidence) -> None:
    positions: dict[str, int] = {}
    for figure in evidence.measurements:
        _, _, domain = figure.name.partition(".")
        if figure.name != VISION and positions.setdefault(domain, figure.n) != figure.n:
            raise ConfigError(
                f"fidelity/evidence.json: {figure.name}: expected {positions[domain]} positions as the "
                f"others of {domain or ALL}, got {figure.n}"
            )
