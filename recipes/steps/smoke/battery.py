"""The battery: the prompts that a smoke asks, one JSON object a line.

    {"id": "arithmetic-0", "domain": "arithmetic", "thinking": false,
     "messages": [{"role": "user", "content": "Add 79 and 12."}]}

``tools`` and ``thinking`` may be left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recipes.formats.step import Exit, StepError

PROMPTS_FILE = "prompts.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One conversation to be continued by the model."""

    id: str
    domain: str
    messages: Sequence[Mapping[str, object]]
    tools: Sequence[Mapping[str, object]] = ()
    thinking: bool = False


def parse(text: str) -> tuple[Prompt, ...]:
    """Parse the battery. Raises StepError with file, line and what was expected."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    prompts = tuple(_prompt(number, line) for number, line in lines)
    ids = {prompt.id for prompt in prompts}
    if not prompts or len(ids) != len(prompts):
        found = f"{len(prompts)} with {len(ids)} different ids" if prompts else "none"
        raise StepError(f"{PROMPTS_FILE}: expected prompts, each with its own id; found {found}", Exit.CONFIG)
    return prompts


def _prompt(number: int, line: str) -> Prompt:
    where = f"{PROMPTS_FILE}:{number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise StepError(f"{where}: expected JSON: {error}", Exit.CONFIG) from error
    match row:
        case {"id": str(name), "domain": str(domain), "messages": [_, *_] as messages}:
            return Prompt(
                id=name,
                domain=domain,
                messages=messages,
                tools=row.get("tools") or (),
                thinking=bool(row.get("thinking", False)),
            )
    raise StepError(f"{where}: expected id, domain and messages (not empty)", Exit.CONFIG)
