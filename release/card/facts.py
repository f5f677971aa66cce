"""What a recipe says for the card: the words that no measurement can give.

Parsed from the ``[card]`` table of a recipe. What was served and sampled stands in evidence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from release.digest import Json
from release.tables import Table

RECIPE_FILE = Path("recipe.toml")
_ARXIV = re.compile(r"\d{4}\.\d{4,5}")


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
class Work:
    """Somebody's work with its SPDX expression: a tool, a set, what a set was made from."""

    name: str
    url: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A training set of one stage. ``license`` is "own" for the model's own outputs.

    ``derives`` names what the set itself was made from: other sets, the teacher of its traces.
    """

    stage: str
    name: str
    url: str
    license: str
    derives: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Somebody whose work or method this release rests on.

    ``arxiv`` is the number of a paper; ``license`` is given where something of theirs is
    inside, and is empty where only a method was followed.
    """

    name: str
    text: str
    arxiv: str = ""
    license: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line of a table: what, and what is said of it."""

    what: str
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
    nvfp4_serve_notes: tuple[str, ...]
    limits: tuple[str, ...]
    uses: tuple[str, ...]
    history: tuple[Note, ...]
    statements: tuple[str, ...]
    performance_notes: tuple[str, ...]
    calibration: Work | None
    tools: tuple[Work, ...]
    not_affiliated: tuple[str, ...]
    changes: tuple[Note, ...]

    @property
    def papers(self) -> tuple[str, ...]:
        """The arXiv numbers of the methods that were followed."""
        return tuple(credit.arxiv for credit in self.attributions if credit.arxiv)


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
        nvfp4_serve_notes=_strings(card, "nvfp4_serve_notes"),
        limits=card.take_strings("limits"),
        uses=_strings(card, "uses"),
        history=card.take_rows("history", _note),
        statements=_strings(card, "statements"),
        performance_notes=_strings(card, "performance_notes"),
        calibration=_calibration(card),
        tools=card.take_rows("tools", _work),
        not_affiliated=_strings(card, "not_affiliated"),
        changes=_changes(card),
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
        derives=row.take_rows("derives", _work),
    )


def _work(row: Table) -> Work:
    return Work(name=row.take("name", str), url=row.take("url", str, ""), license=row.take("license", str))


def _note(row: Table) -> Note:
    return Note(what=row.take("what", str), text=row.take("text", str))


def _attribution(row: Table) -> Attribution:
    arxiv = row.take("arxiv", str, "")
    if arxiv and not _ARXIV.fullmatch(arxiv):
        raise row.error("arxiv", "a number such as 2603.19220", repr(arxiv))
    return Attribution(
        name=row.take("name", str),
        text=row.take("text", str),
        arxiv=arxiv,
        license=row.take("license", str, ""),
    )


def _calibration(card: Table) -> Work | None:
    table = card.take_table("calibration", optional=True)
    if not table.keys():
        return None
    found = _work(table)
    table.done()
    return found


def _changes(card: Table) -> tuple[Note, ...]:
    """Return what each version changed, in the recipe's order: the newest first."""
    table = card.take_table("changes", optional=True)
    return tuple(Note(what=name, text=table.take(name, str)) for name in table.keys())  # noqa: SIM118 - a Table is no dict


def _env(card: Table) -> Mapping[str, str]:
    table = card.take_table("serve_env", optional=True)
    return {name: table.take(name, str) for name in table.keys()}  # noqa: SIM118 - a Table is no dict


def _strings(table: Table, key: str) -> tuple[str, ...]:
    return table.take_strings(key) if key in table.keys() else ()  # noqa: SIM118 - a Table is no dict
