"""The page's part on fidelity: a table with the change of each domain, and the divergence as plots. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from recipes.formats.evidence import Evidence, Measurement
from release.report import plots


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Rows of the table: domain, positions, KL mean and 99 %, top-1, both perplexities, change."""

    rows: tuple[tuple[str, ...], ...]
    by_position: str
    by_domain: str
    vision: str


def read_fidelity(evidence: Evidence | None) -> Fidelity | None:
    """Return the part, None where nothing was measured."""
    if evidence is None or not evidence.measurements:
        return None
    domains = {
        figure.name.removeprefix("kl_mean."): figure
        for figure in evidence.measurements
        if figure.name.startswith("kl_mean.")
    }
    return Fidelity(
        rows=tuple(_row(evidence, domain) for domain in ("", *domains)),
        by_position=_by_position(evidence),
        by_domain=plots.bars(
            list(domains),
            {
                "mean": [figure.value for figure in domains.values()],
                "median": [_value(evidence, "kl_median", domain) for domain in domains],
            },
            "nats/token",
        ),
        vision=_said(evidence.figure("vision_relative_error"), "{:.4g}"),
    )


def _row(evidence: Evidence, domain: str) -> tuple[str, ...]:
    mean = _find(evidence, "kl_mean", domain)
    ratio = _find(evidence, "perplexity_ratio", domain)
    return (
        domain or "all",
        f"{mean.n:,}" if mean else "0",
        *(_said(_find(evidence, name, domain), "{:.4g}") for name in ("kl_mean", "kl_p99")),
        _said(_find(evidence, "top1_agreement", domain), "{:.2%}"),
        *(
            _said(_find(evidence, name, domain), "{:.4g}")
            for name in ("perplexity_master", "perplexity_nvfp4")
        ),
        f"{ratio.value - 1:+.2%}" if ratio else "not measured",
    )


def _by_position(evidence: Evidence) -> str:
    """Return one line for all texts over the number of tokens before a position, in powers of two.

    Domains have no lines of their own: there are more of them than colours, and the bars tell them apart.
    """
    told = evidence.facts.get("kl_by_position")
    sums: dict[int, tuple[float, int]] = {}
    for stretches in told.values() if isinstance(told, dict) else ():
        for begin, mean, count in _stretches(stretches):
            total, positions = sums.get(begin, (0.0, 0))
            sums[begin] = total + mean * count, positions + count
    points = [(float(begin.bit_length()), total / count) for begin, (total, count) in sorted(sums.items())]
    return plots.lines({"all texts": points} if points else {}, "log2 of the tokens before", "nats/token")


def _stretches(stretches: object) -> Iterator[tuple[int, float, int]]:
    for stretch in stretches if isinstance(stretches, list) else []:
        match stretch:
            case {"from": int(begin), "kl": float(mean), "n": int(count)}:
                yield begin, mean, count


def _value(evidence: Evidence, name: str, domain: str) -> float | None:
    found = _find(evidence, name, domain)
    return found.value if found else None


def _find(evidence: Evidence, name: str, domain: str) -> Measurement | None:
    return evidence.figure(f"{name}.{domain}" if domain else name)


def _said(figure: Measurement | None, form: str) -> str:
    return form.format(figure.value) if figure else "not measured"
