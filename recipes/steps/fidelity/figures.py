"""Rows compared → figures: over all positions and per domain, and the sums that intervals are drawn of.

{"id": "code-0", "domain": "code", "positions": 211, "kl": 1.93, "agree": 204,
"master_nll": 98.1, "nvfp4_nll": 99.0}
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from recipes.formats.evidence import Measurement
from recipes.steps.fidelity.heads import F64, Compared
from recipes.steps.fidelity.rows import Tokenized

SUMS_FILE = "rows.jsonl"
BUCKETS = (0, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
"""Where the stretches of positions begin that a plot shows."""

Grouped = Mapping[str, Sequence[Compared]]


def measurements(rows: Sequence[Tokenized], compared: Sequence[Compared]) -> tuple[Measurement, ...]:
    """Return the figures of all positions, then those of each domain as ``<name>.<domain>``."""
    found = [*_figures(compared)]
    for domain, part in _by_domain(rows, compared).items():
        found += [_renamed(figure, domain) for figure in _figures(part)]
    return tuple(found)


def facts(rows: Sequence[Tokenized], compared: Sequence[Compared]) -> dict[str, object]:
    """Return what was counted: rows, tokens, and the mean divergence by domain and stretch of positions."""
    return {
        "rows": len(rows),
        "tokens": sum(len(row.tokens) for row in rows),
        "domains": {
            domain: sum(part.kl.size for part in parts)
            for domain, parts in _by_domain(rows, compared).items()
        },
        "kl_by_position": {
            domain: list(_stretches(parts)) for domain, parts in _by_domain(rows, compared).items()
        },
    }


def sums(rows: Sequence[Tokenized], compared: Sequence[Compared]) -> str:
    """Return the sums of each row, a line a row."""
    return "".join(
        json.dumps(
            {
                "id": row.id,
                "domain": row.domain,
                "positions": int(part.kl.size),
                "kl": float(part.kl.sum()),
                "agree": int((part.master_best == part.release_best).sum()),
                "master_nll": -float(part.master_logprob.sum()),
                "nvfp4_nll": -float(part.release_logprob.sum()),
            }
        )
        + "\n"
        for row, part in zip(rows, compared, strict=True)
    )


def _figures(compared: Sequence[Compared]) -> Iterator[Measurement]:
    kl = np.concatenate([part.kl for part in compared])
    agree = np.concatenate([part.master_best == part.release_best for part in compared])
    ours = -np.concatenate([part.master_logprob for part in compared]).mean()
    theirs = -np.concatenate([part.release_logprob for part in compared]).mean()
    n, over = int(kl.size), f"over {kl.size} positions of {len(compared)} texts"
    whole = f"KL of next-token distributions, master against release, whole vocabulary, {over}"
    for name, value, unit, how in (
        ("kl_mean", kl.mean(), "nats/token", f"mean {whole}"),
        ("kl_median", np.median(kl), "nats/token", f"median {whole}"),
        ("kl_p99", _upper(kl), "nats/token", f"99th percentile {whole}"),
        ("top1_agreement", agree.mean(), "share", f"both find the same token likeliest, {over}"),
        ("perplexity_master", math.exp(ours), "", f"exp of the mean negative log-probability, {over}"),
        ("perplexity_nvfp4", math.exp(theirs), "", f"exp of the mean negative log-probability, {over}"),
        ("perplexity_ratio", math.exp(theirs - ours), "share", f"the release's over the master's, {over}"),
    ):
        yield Measurement(name=name, value=float(value), unit=unit, n=n, how=how)


def _upper(kl: F64) -> float:
    # A value that was measured: nothing is interpolated.
    return float(np.quantile(kl, 0.99, method="inverted_cdf"))


def _renamed(figure: Measurement, domain: str) -> Measurement:
    return Measurement(
        name=f"{figure.name}.{domain}", value=figure.value, unit=figure.unit, n=figure.n, how=figure.how
    )


def _by_domain(rows: Sequence[Tokenized], compared: Sequence[Compared]) -> Grouped:
    found: dict[str, list[Compared]] = {}
    for row, part in zip(rows, compared, strict=True):
        found.setdefault(row.domain, []).append(part)
    return dict(sorted(found.items()))


def _stretches(parts: Sequence[Compared]) -> Iterator[dict[str, object]]:
    for begin, end in zip(BUCKETS, (*BUCKETS[1:], None), strict=True):
        inside = np.concatenate([part.kl[begin:end] for part in parts])
        if inside.size:
            yield {"from": begin, "kl": float(inside.mean()), "n": int(inside.size)}
