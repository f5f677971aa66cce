"""Write the data files of the tiny release line from its corpus.

    python -m recipes.tiny.rows

writes calibration.jsonl (what the model is calibrated on), prompts.jsonl (the pinned acceptance
battery), checks.jsonl (functional checks with the property that a reply must have) and
fidelity.jsonl (whole dialogues, over which the quantized model is held against its master). The documents
of sanity/ come from the same split, after those rows.
"""

# ruff: noqa: S311, T201 - a seeded generator is what pinned rows need; a script prints

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

from recipes.tiny import questions
from recipes.tiny.corpus import DOMAINS, Dialogue, Json, Message, Split, dialogues

SEED = 20261123
BATTERY_ROWS_PER_DOMAIN = 6
CHECK_ROWS_PER_KIND = 8
STOP: dict[str, Json] = {"finish_reason": "stop", "max_tokens": 128}
ROWS_PER_CALIBRATION_DOMAIN = 4
FIDELITY_ROWS_PER_DOMAIN = 4
# What the rows of a domain are to a reader of the figures; the others keep their names.
FIDELITY_NAMES = {"arithmetic": "math", "tool_call": "tools", "prose": "chat"}
CALIBRATION_DOMAINS = tuple(name for name in DOMAINS if name != "tool_answer")  # tool_call covers the tools


def calibration_rows() -> list[dict[str, Json]]:
    """Return whole dialogues, as template input: the arguments of a call are a mapping.

    The domains take turns, so any leading part of the file holds all of them.
    """
    by_domain = {
        name: _distinct("calibration", name, ROWS_PER_CALIBRATION_DOMAIN) for name in CALIBRATION_DOMAINS
    }
    rows: list[dict[str, Json]] = []
    for i in range(ROWS_PER_CALIBRATION_DOMAIN):
        for domain, drawn in by_domain.items():
            messages: list[Json] = [*drawn[i].messages, drawn[i].reply]
            rows.append({"id": f"{domain}-{i}", "messages": messages, **_mode(drawn[i])})
    return rows


def prompt_rows() -> list[dict[str, Json]]:
    """Return the acceptance battery, as request bodies."""
    return [
        {"id": f"{domain}-{i}", "domain": domain, **_request(dialogue)}
        for domain in DOMAINS
        for i, dialogue in enumerate(_distinct("prompts", domain, BATTERY_ROWS_PER_DOMAIN))
    ]


def check_rows() -> list[dict[str, Json]]:
    """Return the functional checks, as request bodies with the property that the reply must have."""
    sources = {
        "answer": ("arithmetic", "counting", "code", "german"),
        "think": ("thinking",),
        "tool_call": ("tool_call",),
        "stop": ("prose", "pattern"),
    }
    rows: list[dict[str, Json]] = []
    for kind, domains in sources.items():
        count = CHECK_ROWS_PER_KIND // len(domains)
        picked = [dialogue for domain in domains for dialogue in _distinct("checks", domain, count)]
        for i, dialogue in enumerate(picked):
            expect = STOP if kind == "stop" else dict(dialogue.expect or {})
            rows.append({"id": f"{kind}-{i}", "kind": kind, **_request(dialogue), "expect": expect})
    return rows


def fidelity_rows() -> list[dict[str, Json]]:
    """Return whole dialogues that no training or calibration saw, and the prose of some as plain text."""
    rows: list[dict[str, Json]] = []
    for domain in CALIBRATION_DOMAINS:
        name = FIDELITY_NAMES.get(domain, domain)
        for i, dialogue in enumerate(_distinct("prompts", domain, FIDELITY_ROWS_PER_DOMAIN)):
            messages: list[Json] = [*dialogue.messages, dialogue.reply]
            rows.append({"id": f"{name}-{i}", "domain": name, "messages": messages, **_mode(dialogue)})
    for i, dialogue in enumerate(_distinct("checks", "prose", FIDELITY_ROWS_PER_DOMAIN)):
        rows.append({"id": f"text-{i}", "domain": "text", "text": dialogue.reply["content"]})
    return rows


def write_files(out: Path) -> None:
    """Write every file, one JSON object a line."""
    files = {
        "calibration": calibration_rows(),
        "prompts": prompt_rows(),
        "checks": check_rows(),
        "fidelity": fidelity_rows(),
    }
    for name, rows in {**files, **questions.rows(_distinct)}.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}.jsonl: {len(rows)} rows")
    (out / questions.HAYSTACK_FILE).write_text("".join(f"{line}\n" for line in questions.haystack()))


def _distinct(split: Split, domain: str, count: int) -> list[Dialogue]:
    """Take the first `count` dialogues of a split and domain that differ in their prompt."""
    found: dict[bytes, Dialogue] = {}
    for dialogue in dialogues(Random(f"{SEED}:{split}:{domain}"), split, domain):
        found.setdefault(dialogue.prompt_digest, dialogue)
        if len(found) == count:
            break
    return list(found.values())


def _request(dialogue: Dialogue) -> dict[str, Json]:
    return {"messages": [_wire(message) for message in dialogue.messages], **_mode(dialogue)}


def _mode(dialogue: Dialogue) -> dict[str, Json]:
    tools: dict[str, Json] = {"tools": [*dialogue.tools]} if dialogue.tools else {}
    return {**tools, "thinking": dialogue.thinking}


def _wire(message: Message) -> Message:
    """Return the message as a request carries it: the arguments of a call are a JSON string."""
    match message.get("tool_calls"):
        case [{"id": identifier, "function": {"name": name, "arguments": arguments}}]:
            function: Json = {"name": name, "arguments": json.dumps(arguments)}
            return {**message, "tool_calls": [{"id": identifier, "type": "function", "function": function}]}
        case _:
            return message


def main() -> None:
    """Write the files into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the data files of the tiny release line.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    write_files(parser.parse_args().out)


if __name__ == "__main__":
    main()
