"""The licence closure: everything whose terms a release inherits, held against a policy.

Weights, sets, what sets were made from, templates and tools each name an SPDX expression,
and each knows the path by which it came into the release. The policy is data beside the
templates (``licences.toml``): what may be inherited, and why other things may not. In
``A OR B`` one acceptable side is enough; in ``A AND B`` both have to be. A licence that is
in neither list is refused by name, so that nobody's own terms pass unread.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from release.card.facts import CardFacts, Dataset, Work
from release.errors import ConfigError
from release.tables import Table, expect_format, read

if TYPE_CHECKING:
    from license_expression import Licensing  # type: ignore[import-untyped]

OWN = "own"
"""Outputs of the model itself: no third party, no licence to inherit."""

POLICY_FILE = "licences.toml"
_OWN_TERMS = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")
"""How SPDX names a licence that is on no list of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Licensed:
    """One thing that the release is made of, its SPDX expression, and how it came in."""

    what: str
    name: str
    expression: str
    url: str = ""
    via: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The way from the release to this thing."""
        return " → ".join([*self.via, f"{self.what} {self.name}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Licences that are refused, by a pattern of their identifiers, and why."""

    pattern: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a release may inherit."""

    allow: tuple[str, ...]
    deny: tuple[Denial, ...]


def read_policy(templates: Path) -> Policy:
    """Read the policy that stands beside the templates. Raises ConfigError naming the key."""
    table = read(templates / POLICY_FILE)
    expect_format(table, 1)
    policy = Policy(allow=table.take_strings("allow"), deny=table.take_rows("deny", _denial))
    table.done()
    return policy


def closure(facts: CardFacts) -> tuple[Licensed, ...]:
    """Return everything whose licence the release inherits, each with the path to it."""
    return (
        Licensed(what="release", name=facts.title, expression=facts.license),
        Licensed(what="weights", name=facts.base.repo, expression=facts.base.license),
        Licensed(what="template", name="chat template", expression=facts.template_license),
        *_calibration(facts.calibration),
        *(item for dataset in facts.datasets for item in _dataset(dataset)),
        *(
            Licensed(what="work", name=credit.name, expression=credit.license)
            for credit in facts.attributions
            if credit.license
        ),
        *(
            Licensed(what="tool", name=tool.name, expression=tool.license, url=tool.url)
            for tool in facts.tools
        ),
    )


def check(items: Sequence[Licensed], policy: Policy) -> None:
    """Raise ConfigError naming every licence that may not be inherited, and how it came in."""
    found = ((item, refusal(item.expression, policy)) for item in items)
    problems = [f"  {item.path}: {reason}" for item, reason in found if reason]
    if problems:
        raise ConfigError(
            "the licence closure is not clean:\n" + "\n".join(problems),
            why="The card says that every licence in the lineage is attribution-only and commercial-OK.",
            hint="leave that source out, correct its SPDX expression in the recipe, "
            f"or argue for it in {POLICY_FILE} beside the templates",
        )


def refusal(expression: str, policy: Policy) -> str | None:
    """Return why an SPDX expression may not be inherited, or None when it may."""
    # Imported here: a release that changes nothing reads no licence data.
    from license_expression import ExpressionError

    licensing = _spdx()
    try:
        parsed = licensing.parse(expression)
    except ExpressionError as error:
        return f"{expression!r} is no SPDX expression: {error}"
    if parsed is None:
        return f"{expression!r} is no SPDX expression: it is empty"
    unknown = [key for key in licensing.unknown_license_keys(parsed) if not _OWN_TERMS.fullmatch(key)]
    if unknown:
        return f"{expression!r} is no SPDX expression: it knows no {', '.join(unknown)}"
    normal = licensing.dnf(parsed)
    choices = normal.args if isinstance(normal, licensing.OR) else (normal,)
    reasons = [_refused(sorted(licensing.license_keys(choice)), policy) for choice in choices]
    return None if None in reasons else reasons[0]


@functools.cache
def _spdx() -> "Licensing":
    """Return SPDX's own list: half a second, once."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _refused(keys: Sequence[str], policy: Policy) -> str | None:
    """Return why one of ``keys`` is refused. A denial is told before a mere absence."""
    for key in keys:
        for denial in policy.deny:
            if fnmatchcase(key, denial.pattern):
                return f"{key} {denial.reason}"
    for key in keys:
        if not any(fnmatchcase(key, pattern) for pattern in policy.allow):
            return f"{key} is not among the licences that the policy allows"
    return None


def _denial(row: Table) -> Denial:
    return Denial(pattern=row.take("pattern", str), reason=row.take("reason", str))


def _calibration(rows: Work | None) -> Iterator[Licensed]:
    if rows is not None:
        yield Licensed(what="calibration rows", name=rows.name, expression=rows.license, url=rows.url)


def _dataset(dataset: Dataset) -> Iterator[Licensed]:
    stage = f"stage {dataset.stage}"
    if dataset.license != OWN:
        yield Licensed(
            what="dataset", name=dataset.name, expression=dataset.license, url=dataset.url, via=(stage,)
        )
    for work in dataset.derives:
        yield Licensed(
            what="source",
            name=work.name,
            expression=work.license,
            url=work.url,
            via=(stage, f"dataset {dataset.name}"),
        )
