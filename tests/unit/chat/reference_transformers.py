"""Run in the quantize environment: every case as transformers renders it, as JSON.

python -m tests.unit.chat.reference_transformers MODEL TEMPLATE
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

from tests.unit.chat.cases import CASES


def main(model: str, template: str) -> None:
    """Print name → rendered text."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = Path(template).read_text()
    rendered = {}
    for name, case in CASES.items():
        given = {"add_generation_prompt": True, **case}
        messages = given.pop("messages")
        rendered[name] = tokenizer.apply_chat_template(messages, chat_template=text, tokenize=False, **given)
    json.dump(rendered, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
