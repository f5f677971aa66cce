"""Licences: what may be in a lineage, and how a refusal reads."""

import pytest

from release.card.licences import refusal


@pytest.mark.parametrize(
    "expression",
    [
        "Apache-2.0",
        "Apache-2.0 AND CC-BY-4.0",
        "ODC-By-1.0",
        "MIT OR CC-BY-NC-4.0",
        "(MIT OR CC-BY-NC-4.0) AND Apache-2.0",
    ],
)
def test_attribution_only_licences_pass(expression: str) -> None:
    assert refusal(expression) is None


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("CC-BY-NC-4.0", "forbids commercial use"),
        ("Apache-2.0 AND CC-BY-NC-SA-4.0", "forbids commercial use"),
        ("CC-BY-ND-4.0", "forbids derivatives"),
        ("CC-BY-SA-4.0", "its own terms"),
        ("GPL-3.0-only", "its own terms"),
        ("AGPL-3.0-or-later", "its own terms"),
        ("MIT AND (GPL-2.0-only OR CC-BY-NC-4.0)", "forbids commercial use"),
        ("NVIDIA Open Model License", "no SPDX expression"),
        ("", "it is empty"),
    ],
)
def test_other_licences_are_refused_by_name(expression: str, words: str) -> None:
    assert words in (refusal(expression) or "")
