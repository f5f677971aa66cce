r"""The pinned texts of a recipe: ``fidelity.jsonl``, plain text or chats, each with its domain.

    {"id": "code-0", "domain": "code", "text": "def add(a, b):\n    return a + b\n"}
    {"id": "chat-0", "domain": "chat", "messages": [{"role": "user", "content": "..."}], "thinking": true}

A chat is rendered by the release's own template, as in ``calibration.jsonl``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.chats.rows import Row, parse_row
from recipes.chats.tokens import Tokens
from recipes.formats import strict_json
from recipes.formats.step import Exit, StepError

ROWS_FILE = "fidelity.jsonl"
# The first token is predicted from nothing.
FEWEST_TOKENS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row. Its content is a text, or a chat."""

    id: str
    domain: str
    content: str | Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """One row as token ids, at least two."""

    id: str
    domain: str
    tokens: Sequence[int]


def read_samples(path: Path) -> list[Sample]:
    """Read every row of ``path``. Raises StepError for one of another form, or with the id of another."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        found = [_parse(line, f"{path.name}:{number}") for number, line in enumerate(lines, 1)]
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error
    names = [sample.id for sample in found]
    if not found or len(set(names)) != len(names):
        twin = next((name for name in names if names.count(name) > 1), "nothing")
        raise StepError(f"{path.name}: expected rows with an id of their own, got {twin}", Exit.CONFIG)
    return found


def tokenize(samples: Sequence[Sample], tokens: Tokens, length: int) -> list[Tokenized]:
    """Return the first ``length`` token ids of each row. Raises StepError where there are fewer than two."""
    return [_tokenized(sample, tokens, length) for sample in samples]


def _tokenized(sample: Sample, tokens: Tokens, length: int) -> Tokenized:
    content = sample.content
    found = tokens.of_text(content, sample.id) if isinstance(content, str) else tokens.of_chat(content)
    if len(found) < FEWEST_TOKENS:
        raise StepError(f"{ROWS_FILE}: {sample.id}: expected two tokens or more, got one", Exit.CONFIG)
    return Tokenized(id=sample.id, domain=sample.domain, tokens=found[:length])


def _parse(line: str, where: str) -> Sample:
    data = strict_json.loads_table(line, where)
    name, domain, text = data.get("id"), data.get("domain"), data.get("text")
    if not isinstance(name, str) or not isinstance(domain, str) or not domain.isidentifier():
        raise ValueError(f"{where}: expected an id and a domain of one word")
    if isinstance(text, str) and text:
        return Sample(id=name, domain=domain, content=text)
    return Sample(id=name, domain=domain, content=parse_row(line, where))
