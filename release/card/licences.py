"""The licence closure: everything whose terms a release inherits, held against a deny-list.

Weights, datasets and templates each name an SPDX expression. In ``A OR B`` one acceptable
side is enough; in ``A AND B`` both have to be. A licence that SPDX does not know is refused
by name, so that nobody's own terms pass unread.
"""

import re
from dataclasses import dataclass

from release.card.facts import CardFacts
from release.errors import ConfigError

OWN = "own"
"""Outputs of the model itself: no third party, no licence to inherit."""

_DENIED = (
    (re.compile(r"CC-BY(-[A-Z]+)*-NC(-.*)?", re.IGNORECASE), "forbids commercial use"),
    (re.compile(r"CC-BY(-[A-Z]+)*-ND(-.*)?", re.IGNORECASE), "forbids derivatives"),
    (re.compile(r"CC-BY(-[A-Z]+)*-SA(-.*)?", re.IGNORECASE), "demands its own terms of derivatives"),
    (re.compile(r"(A|L)?GPL-.*", re.IGNORECASE), "demands its own terms of derivatives"),
    (re.compile(r"ODbL-.*", re.IGNORECASE), "demands its own terms of derived databases"),
    (re.compile(r"(SSPL|BUSL|Elastic)-.*", re.IGNORECASE), "restricts commercial use"),
    (re.compile(r"PolyForm-.*", re.IGNORECASE), "restricts use"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Licensed:
    """One thing that the release is made of, and its SPDX expression."""

    what: str
    name: str
    expression: str


def closure(facts: CardFacts) -> tuple[Licensed, ...]:
    """Return everything whose licence the release inherits."""
    weights = Licensed(what="weights", name=facts.base.repo, expression=facts.base.license)
    template = Licensed(what="templates", name="chat template", expression=facts.template_license)
    own = Licensed(what="release", name=facts.title, expression=facts.license)
    datasets = (
        Licensed(what="dataset", name=dataset.name, expression=dataset.license)
        for dataset in facts.datasets
        if dataset.license != OWN
    )
    return (own, weights, template, *datasets)


def check_closure(items: tuple[Licensed, ...]) -> None:
    """Raise ConfigError naming every licence that a release may not inherit."""
    problems = [
        f"  {item.what} {item.name}: {reason}" for item in items if (reason := refusal(item.expression))
    ]
    if problems:
        raise ConfigError(
            "the licence closure is not clean:\n" + "\n".join(problems),
            why="The card says that every licence in the lineage is attribution-only and commercial-OK.",
            hint="leave the source out, or correct its SPDX expression in the recipe",
        )


def refusal(expression: str) -> str | None:
    """Return why an SPDX expression may not be inherited, or None when it may."""
    # Imported here: a release that changes nothing reads no licence data.
    from license_expression import get_spdx_licensing  # type: ignore[import-untyped]

    licensing = get_spdx_licensing()
    checked = licensing.validate(expression)
    if checked.errors or not expression.strip():
        return f"{expression!r} is no SPDX expression: {'; '.join(checked.errors) or 'it is empty'}"
    normal = licensing.dnf(licensing.parse(expression))
    choices = normal.args if isinstance(normal, licensing.OR) else (normal,)
    reasons = [_denied(sorted(licensing.license_keys(choice))) for choice in choices]
    return None if None in reasons else reasons[0]


def _denied(keys: list[str]) -> str | None:
    for key in keys:
        for pattern, reason in _DENIED:
            if pattern.fullmatch(key):
                return f"{key} {reason}"
    return None
