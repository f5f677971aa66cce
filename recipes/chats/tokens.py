"""Rows → token ids, by a checkpoint's tokenizer and the release's own chat template."""

from pathlib import Path

from transformers import AutoTokenizer

from recipes.chats.rows import Row
from recipes.formats.step import Exit, StepError

TEMPLATE_FILE = "chat_template.jinja"


class Tokens:
    """A tokenizer from folder ``tokenizer`` and the chat template from folder ``template``."""

    def __init__(self, tokenizer: Path, template: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
        self._template = (template / TEMPLATE_FILE).read_text(encoding="utf-8")

    def of_chat(self, row: Row) -> list[int]:
        """Return the token ids of a chat, rendered by the template.

        Raises StepError for a row that the template refuses or that has no token.
        """
        switches = {} if row.thinking is None else {"enable_thinking": row.thinking}
        try:
            text = self._tokenizer.apply_chat_template(
                list(row.messages),
                tools=row.tools,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=row.wants_reply,
                **switches,
            )
        except Exception as error:  # Jinja raises its own classes, and what the template raises.
            raise StepError(f"{row.id}: the template refused it: {error}", Exit.CONFIG) from error
        return self.of_text(text, row.id)

    def of_text(self, text: str, name: str) -> list[int]:
        """Return the token ids of ``text``, nothing added. Raises StepError where there are none."""
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if not tokens:
            raise StepError(f"{name}: no token to run", Exit.CONFIG)
        return tokens

    def text(self, tokens: list[int]) -> str:
        """Return token ids as text, special tokens shown."""
        return str(self._tokenizer.decode(tokens))
