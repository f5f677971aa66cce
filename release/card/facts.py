"""What a recipe says for the card: the words that no measurement can give.

Parsed from the ``[card]`` table of a recipe. What was served and sampled stands in evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from release.digest import Json
from release.tables import Table

RECIPE_FILE = Path("recipe.toml")


class DraftHead(StrEnum):
    """Where the draft head comes from; the bytes decide whether the claim may stand."""

    BASE = "base"
    REALIGNED = "realigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The checkpoint that the lineage starts from."""

    repo: str
    revision: str
    license: str
    copyright: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A training set of one stage. ``license`` is "own" for the model's own outputs."""

    stage: str
    name: str
    url: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Somebody whose work or method this release rests on."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Everything that a recipe says for its card."""

    title: str
    author: str
    year: int
    summary: str
    license: str
    template_license: str
    hub: str
    hardware: str
    base: Base
    draft_head: DraftHead
    vision_frozen: bool
    post_training: str
    datasets: tuple[Dataset, ...]
    data_note: str
    attributions: tuple[Attribution, ...]
    languages: tuple[str, ...]
    tags: tuple[str, ...]
    reasoning: tuple[str, ...]
    sampling_notes: tuple[str, ...]
    serve_env: Mapping[str, str]
    serve_notes: tuple[str, ...]
    limits: tuple[str, ...]


def parse_facts(data: Mapping[str, Json], base_revision: str = "") -> CardFacts:
    """Parse the card's table. Raises ConfigError: file, key, expected, got.

    ``base_revision`` is what the lock says, for a base that the recipe names no revision of.
    """
    card = Table(RECIPE_FILE, data, "card")
    facts = CardFacts(
        title=card.take("title", str),
        author=card.take("author", str),
        year=card.take("year", int),
        summary=card.take("summary", str),
        license=card.take("license", str, "Apache-2.0"),
        template_license=card.take("template_license", str, "Apache-2.0"),
        hub=_hub(card),
        hardware=card.take("hardware", str),
        base=_base(card.take_table("base"), base_revision),
        draft_head=_draft_head(card),
        vision_frozen=card.take("vision_frozen", bool),
        post_training=card.take("post_training", str),
        datasets=card.take_rows("datasets", _dataset),
        data_note=card.take("data_note", str, ""),
        attributions=card.take_rows("attributions", _attribution),
        languages=card.take_strings("languages"),
        tags=_strings(card, "tags"),
        reasoning=_strings(card, "reasoning"),
        sampling_notes=_strings(card, "sampling_notes"),
        serve_env=_env(card),
        serve_notes=_strings(card, "serve_notes"),
        limits=card.take_strings("limits"),
    )
    card.done()
    return facts


def _base(table: Table, locked: str) -> Base:
    base = Base(
        repo=table.take("repo", str),
        revision=table.take("revision", str, locked) if locked else table.take("revision", str),
        license=table.take("license", str),
        copyright=table.take("copyright", str),
    )
    table.done()
    return base


def _draft_head(card: Table) -> DraftHead:
    value = card.take("draft_head", str)
    if value not in list(DraftHead):
        raise card.error("draft_head", " or ".join(DraftHead), repr(value))
    return DraftHead(value)


def _hub(card: Table) -> str:
    """Return the address that repo names are links on; empty for a release in a folder."""
    hub = card.take("hub", str, "")
    if hub and not hub.startswith("https://"):
        raise card.error("hub", "https://...", repr(hub))
    return hub.rstrip("/")


def _dataset(row: Table) -> Dataset:
    return Dataset(
        stage=row.take("stage", str),
        name=row.take("name", str),
        url=row.take("url", str, ""),
        license=row.take("license", str),
    )


def _attribution(row: Table) -> Attribution:
    return Attribution(name=row.take("name", str), text=row.take("text", str))


def _env(card: Table) -> Mapping[str, str]:
    table = card.take_table("serve_env", optional=True)
    return {name: table.take(name, str) for name in table.keys()}  # noqa: SIM118 - a Table is no dict


def _strings(table: Table, key: str) -> tuple[str, ...]:
    return table.take_strings(key) if key in table.keys() else ()  # noqa: SIM118 - a Table is no dict
