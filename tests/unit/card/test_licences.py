"""Licences: what may be in a lineage, and how a refusal reads."""

import pytest

from release.card.facts import parse_facts
from release.card.licences import check, closure, read_policy, refusal
from release.digest import Json
from release.errors import ConfigError
from tests.unit.card.inputs import CARD, TEMPLATES

POLICY = read_policy(TEMPLATES)


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
    assert refusal(expression, POLICY) is None


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
        ("LicenseRef-NVIDIA-Open-Model-License", "is NVIDIA's own"),
        ("Apache-2.0 AND LicenseRef-scancode-nvidia-open-model-2025-04-28", "is NVIDIA's own"),
        ("LicenseRef-my-terms", "not among the licences that the policy allows"),
        ("EUPL-1.2", "not among the licences that the policy allows"),
        ("MIT OR", "no SPDX expression"),
        ("", "it is empty"),
    ],
)
def test_other_licences_are_refused_by_name(expression: str, words: str) -> None:
    assert words in (refusal(expression, POLICY) or "")


@pytest.mark.parametrize(
    ("card", "path"),
    [
        (
            {
                "datasets": [
                    {
                        "stage": "SFT",
                        "name": "a/b",
                        "license": "Apache-2.0",
                        "derives": [{"name": "teacher", "license": "LicenseRef-NVIDIA-Open-Model-License"}],
                    }
                ]
            },
            "stage SFT → dataset a/b → source teacher: LicenseRef-NVIDIA-Open-Model-License is NVIDIA's own",
        ),
        (
            {
                "datasets": [
                    {
                        "stage": "MOPD",
                        "name": "its own outputs",
                        "license": "own",
                        "derives": [{"name": "teacher", "license": "CC-BY-NC-4.0"}],
                    }
                ]
            },
            "stage MOPD → dataset its own outputs → source teacher: CC-BY-NC-4.0 forbids commercial use",
        ),
        ({"tools": [{"name": "packer", "license": "GPL-3.0-only"}]}, "tool packer: GPL-3.0-only"),
        (
            {"calibration": {"name": "rows", "license": "CC-BY-SA-4.0"}},
            "calibration rows rows: CC-BY-SA-4.0",
        ),
        ({"template_license": "CC-BY-ND-4.0"}, "template chat template: CC-BY-ND-4.0"),
    ],
)
def test_a_refused_licence_names_the_way_by_which_it_came_in(card: dict[str, Json], path: str) -> None:
    facts = parse_facts({**CARD, **card}, "revision")
    with pytest.raises(ConfigError) as error:
        check(closure(facts), POLICY)
    assert path in str(error.value)
