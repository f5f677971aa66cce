"""docs/card.md: every section of the reference card has an owner, and every section of ours a row."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
MACROS = PROJECT / "recipes/templates/card_macros.jinja"
CARDS = {kind: PROJECT / f"tests/unit/golden/flagship.{kind}.README.md" for kind in ("nvfp4", "master")}
REFERENCE = (
    "License",
    "Lineage",
    "Architecture",
    "Quantization: the BF16-head invariant",
    "Re-quant and MTP re-graft procedure",
    "Reasoning modes",
    "Recommended sampling",
    "Serving",
    "Performance",
    "Evaluation",
    "Intended use and limitations",
    "The two-repo pattern",
    "License, attribution and data provenance",
    "Provenance",
    "Model provider",
    "Model tree",
    "Modalities",
)
"""The reference card's headings, in its order; its sampling is a paragraph of its own."""

CONDITIONAL = ("Changes",)
"""Sections that a first version has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    reference: str
    ours: str
    macro: str
    cards: str


def rows() -> list[Row]:
    text = (PROJECT / "docs/card.md").read_text().partition("| reference |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    return [Row(reference=r[0], ours=r[1], macro=r[2].strip("`"), cards=r[3]) for r in cells]


def headings(kind: str) -> set[str]:
    return set(re.findall(r"^##+ (.+)$", CARDS[kind].read_text(), re.MULTILINE))


def test_every_section_of_the_reference_has_an_owner() -> None:
    assert list(dict.fromkeys(row.reference for row in rows() if row.reference)) == list(REFERENCE)


@pytest.mark.parametrize("kind", sorted(CARDS))
def test_every_section_of_a_card_has_a_row_and_every_row_a_section(kind: str) -> None:
    owned = {row.ours for row in rows() if row.cards in ("both", kind)}
    assert owned == headings(kind) - set(CONDITIONAL)


def test_every_owner_is_a_macro() -> None:
    macros = set(re.findall(r"{% macro (\w+)\(", MACROS.read_text()))
    assert {row.macro for row in rows()} <= macros
