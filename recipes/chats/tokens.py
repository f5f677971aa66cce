"""Rows → token ids, by the master's tokenizer and the release's own chat template."""

from collections.abc import Iterable, Iterator

from transformers import AutoTokenizer

from recipes.chats.rows import ROWS_FILE, Row
from recipes.formats.step import Exit, StepError, Workdir

TEMPLATE_FILE = "chat_template.jinja"


def tokenize(work: Workdir, rows: Iterable[Row]) -> Iterator[list[int]]:
    """Yield the token ids of each row, rendered by the locked chat template.

    Raises StepError for a row that the template refuses or that has no token.
    """
    tokenizer = AutoTokenizer.from_pretrained(work.input("master"), local_files_only=True)
    template = (work.input("chat_template") / TEMPLATE_FILE).read_text(encoding="utf-8")
    for row in rows:
        switches = {} if row.thinking is None else {"enable_thinking": row.thinking}
        try:
            text = tokenizer.apply_chat_template(
                list(row.messages),
                tools=row.tools,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=row.wants_reply,
                **switches,
            )
        except Exception as error:  # Jinja raises its own classes, and what the template raises.
            raise StepError(
                f"{ROWS_FILE}: {row.id}: the template refused it: {error}", Exit.CONFIG
            ) from error
        tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not tokens:
            raise StepError(f"{ROWS_FILE}: {row.id}: no token to run", Exit.CONFIG)
        yield tokens
