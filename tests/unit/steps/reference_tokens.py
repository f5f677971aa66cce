"""Run in the quantize environment: token ids of the calibration rows, as JSON.

python -m tests.unit.steps.reference_tokens MASTER ROWS TEMPLATE COUNT LENGTH
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer


def main(master: str, rows: str, template: str, count: str, length: str) -> None:
    """Render, tokenize and cut the first ``count`` rows; print the lists."""
    tokenizer = AutoTokenizer.from_pretrained(master)
    lists = []
    for line in Path(rows).read_text().splitlines()[: int(count)]:
        row = json.loads(line)
        text = tokenizer.apply_chat_template(
            row["messages"],
            tools=row.get("tools"),
            chat_template=Path(template).read_text(),
            tokenize=False,
            add_generation_prompt=row["messages"][-1]["role"] != "assistant",
            **({"enable_thinking": row["thinking"]} if "thinking" in row else {}),
        )
        lists.append(tokenizer(text, add_special_tokens=False)["input_ids"][: int(length)])
    json.dump(lists, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
