"""Generate the synthetic dialogues of the tiny release line.

    dialogues(Random(0), "train", "arithmetic")  yields, without end, questions with replies such as
    "Ones: 7 + 8 = 15, so write 5 and carry 1. Tens: 2 + 5 + 1 = 8. So 27 + 58 = 85. The answer is 85."

Every prompt belongs to exactly one split, chosen by a hash of its text, so no row of one file is
ever seen in training or in another file. The replies are nearly determined by their prompts: a model
of this size learns them, and a draft head can predict them, yet sampling does not give constant text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Message: TypeAlias = dict[str, Json]
Split: TypeAlias = Literal["train", "prompts", "checks", "calibration"]

# fmt: off
WORDS = (
    "river", "willow", "stone", "lantern", "meadow", "harbor", "cedar", "cloud", "garden", "bridge",
    "winter", "candle", "forest", "window", "island", "thunder", "silver", "orchard", "mountain",
    "feather",
)
# fmt: on
CAPITALS = {
    "Frankreich": "Paris",
    "Italien": "Rom",
    "Spanien": "Madrid",
    "Norwegen": "Oslo",
    "Polen": "Warschau",
    "Portugal": "Lissabon",
    "Irland": "Dublin",
    "Ungarn": "Budapest",
    "Finnland": "Helsinki",
    "Kuba": "Havanna",
}
# fmt: off
GERMAN_NUMBERS = (
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf",
    "zwölf", "dreizehn", "vierzehn", "fünfzehn",
)
# fmt: on
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CITIES = tuple(CAPITALS.values())
ADVICE = {
    "rain": "Take an umbrella.",
    "sun": "Wear a hat.",
    "snow": "Wear warm boots.",
    "wind": "Close the windows.",
}
PEOPLE = ("Ann", "Ben", "Eva", "Tom")
THINGS = ("pens", "books", "coins", "apples")
SYSTEM = "You are a careful assistant."


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A prompt and the assistant message that answers it."""

    domain: str
    messages: tuple[Message, ...]
    reply: Message
    tools: tuple[Message, ...] = ()
    thinking: bool = False
    expect: Mapping[str, Json] | None = None

    @property
    def prompt_digest(self) -> bytes:
        """Digest of the question alone: another system message, tool list or mode is the same prompt."""
        questions = [message["content"] for message in self.messages if message["role"] == "user"]
        return hashlib.sha256(json.dumps(questions).encode()).digest()

    @property
    def split(self) -> Split:
        """Return the split that this prompt belongs to: 1/16 for each held-out file."""
        match self.prompt_digest[0] % 16:
            case 0:
                return "prompts"
            case 1:
                return "checks"
            case 2:
                return "calibration"
            case _:
                return "train"


def dialogues(rng: Random, split: Split, domain: str | None = None) -> Iterator[Dialogue]:
    """Yield dialogues of one split without end, from one domain or from all in turn of chance."""
    names = list(DOMAINS)
    while True:
        dialogue = DOMAINS[domain or rng.choice(names)](rng)
        if dialogue.split == split:
            yield dialogue


def arithmetic(rng: Random) -> Dialogue:
    """Add two numbers digit by digit, as a sum or as a story."""
    a, b = _addends(rng)
    if rng.random() < 0.5:
        prompt = rng.choice((f"What is {a} + {b}?", f"Add {a} and {b}."))
    else:
        person, thing = rng.choice(PEOPLE), rng.choice(THINGS)
        prompt = f"{person} has {a} {thing} and gets {b} more. How many {thing} is that?"
    reply = f"{_addition_steps(a, b)} So {a} + {b} = {a + b}. The answer is {a + b}."
    return _answer("arithmetic", prompt, reply, rng, expect={"contains": f"The answer is {a + b}."})


def counting(rng: Random) -> Dialogue:
    """Count up, up in twos, or down."""
    start, length = rng.randint(0, 40), rng.randint(8, 13)
    step, wording = rng.choice(((1, "Count"), (2, "Count in twos"), (-1, "Count down")))
    if step < 0:
        start += length
    numbers = [start + step * i for i in range(length)]
    prompt = f"{wording} from {numbers[0]} to {numbers[-1]}."
    listed = ", ".join(map(str, numbers))
    reply = f"From {numbers[0]} to {numbers[-1]}: {listed}. The last number is {numbers[-1]}."
    return _answer("counting", prompt, reply, rng, expect={"contains": f"{listed}."})


def pattern(rng: Random) -> Dialogue:
    """Continue a repeating row of two or three words."""
    unit = rng.sample(WORDS, rng.randint(2, 3))
    row = " ".join(unit * 2)
    opening = rng.choice(("Continue the pattern", "What comes next"))
    rule = " then ".join(unit)
    reply = f"{row} {row}. The pattern is {rule}, and then it starts again with {unit[0]}."
    return _answer("pattern", f"{opening}: {row}", reply, rng, expect={"contains": f"The pattern is {rule},"})


def prose(rng: Random) -> Dialogue:
    """Write four sentences about two words; the only domain where wording is left to chance."""
    a, b = rng.sample(WORDS, 2)
    request = rng.choice(("Write a short text about", "Tell me a story about"))
    time = _choose(rng, "In the morning", "At night")
    mood = _choose(rng, "quiet", "bright")
    verb = _choose(rng, "waits for", "dreams of")
    reply = (
        f"This is a story about the {a} and the {b}. {time} the {a} is {mood} and the {b} is near. "
        f"The {b} {verb} the {a}, and the {a} {verb} the {b}. So the {a} and the {b} are old friends."
    )
    return _answer("prose", f"{request} the {a} and the {b}.", reply, rng)


def code(rng: Random) -> Dialogue:
    """Write a one-line function and show its value for one argument."""
    verb, preposition, name, sign, compute = rng.choice(_CODE_FORMS)
    k, x = rng.randint(2, 9), rng.randint(2, 12)
    if sign == "-":
        x += k
    subject = f"{verb} {k} {preposition} x"
    prompt = f"Write a function that {subject}. Show it for x = {x}."
    value = compute(x, k)
    reply = (
        f"```python\ndef {name}_{k}(x):\n    return x {sign} {k}\n\nprint({name}_{k}({x}))\n```\n"
        f"The function {name}_{k} {subject}. For x = {x} it gives {value}."
    )
    return _answer("code", prompt, reply, rng, expect={"contains": f"For x = {x} it gives {value}."})


def german(rng: Random) -> Dialogue:
    """Name two capitals, or count in words, in German."""
    if rng.random() < 0.6:
        a, b = rng.sample(list(CAPITALS), 2)
        prompt = f"Was ist die Hauptstadt von {a} und von {b}?"
        reply = (
            f"Die Hauptstadt von {a} ist {CAPITALS[a]}. Die Hauptstadt von {b} ist {CAPITALS[b]}. "
            f"Also liegt {CAPITALS[a]} in {a} und {CAPITALS[b]} in {b}."
        )
        return _answer(
            "german", prompt, reply, rng, expect={"contains": f"Die Hauptstadt von {b} ist {CAPITALS[b]}."}
        )
    start = rng.randint(0, len(GERMAN_NUMBERS) - 8)
    end = rng.randint(start + 5, min(start + 9, len(GERMAN_NUMBERS) - 1))
    numbers = GERMAN_NUMBERS[start : end + 1]
    please = rng.choice(("Zähle", "Bitte zähle"))
    prompt = f"{please} von {numbers[0]} bis {numbers[-1]}."
    reply = f"Ich zähle von {numbers[0]} bis {numbers[-1]}: {', '.join(numbers)}. Das war die letzte Zahl."
    return _answer("german", prompt, reply, rng, expect={"contains": f"{', '.join(numbers)}."})


def thinking(rng: Random) -> Dialogue:
    """Reason about a sum, a comparison or parity, close the think block, then answer."""
    match rng.choice(("add", "compare", "parity")):
        case "add":
            a, b = _addends(rng)
            prompt, reasoning = f"What is {a} + {b}?", f"I need {a} + {b}. {_addition_steps(a, b)}"
            answer = f"{a} + {b} = {a + b}. The answer is {a + b}."
        case "compare":
            a, b = rng.sample(range(10, 100), 2)
            prompt, (low, high) = f"Which is larger, {a} or {b}?", sorted((a, b))
            place, index = ("tens", 0) if a // 10 != b // 10 else ("ones", 1)
            x, y = str(a)[index], str(b)[index]
            reasoning = (
                f"I need to compare {a} and {b}. Look at the {place}: {x} and {y}. "
                f"{max(x, y)} is larger than {min(x, y)}. So {high} is larger."
            )
            answer = f"{high} is larger than {low}."
        case _:
            n = rng.randint(10, 999)
            parity = "odd" if n % 2 else "even"
            prompt = f"Is {n} odd or even?"
            last = n % 10
            reasoning = (
                f"I need the last digit of {n}. The last digit is {last}. "
                f"{last} is {parity}. So {n} is {parity}."
            )
            answer = f"The number {n} is {parity}."
    return _answer(
        "thinking", prompt, answer, rng, reasoning=reasoning, expect={"closed": True, "contains": answer}
    )


def tool_call(rng: Random) -> Dialogue:
    """Call the function that the question asks for."""
    use = _tool_use(rng)
    reasoning = f"The user asks for the {use.subject}, so I call {use.name}." if rng.random() < 0.3 else None
    reply: Message = {"role": "assistant", "content": "", "tool_calls": [_call(use.name, use.arguments)]}
    if reasoning:
        reply["reasoning_content"] = reasoning
    return Dialogue(
        domain="tool_call",
        messages=({"role": "user", "content": use.question},),
        reply=reply,
        tools=_offered(use.name, rng),
        thinking=bool(reasoning),
        expect={"name": use.name, "arguments": use.arguments},
    )


def tool_answer(rng: Random) -> Dialogue:
    """Answer from the result of a call."""
    use = _tool_use(rng)
    called: Message = {"role": "assistant", "content": "", "tool_calls": [_call(use.name, use.arguments)]}
    result: Message = {"role": "tool", "tool_call_id": "call_0", "content": json.dumps(use.result)}
    return Dialogue(
        domain="tool_answer",
        messages=({"role": "user", "content": use.question}, called, result),
        reply={"role": "assistant", "content": use.answer},
        tools=_offered(use.name, rng),
        expect={"contains": use.answer},
    )


DOMAINS: dict[str, Callable[[Random], Dialogue]] = {
    generate.__name__: generate
    for generate in (arithmetic, counting, pattern, prose, code, german, thinking, tool_call, tool_answer)
}

_CODE_FORMS: tuple[tuple[str, str, str, str, Callable[[int, int], int]], ...] = (
    ("adds", "to", "add", "+", lambda x, k: x + k),
    ("takes", "from", "take", "-", lambda x, k: x - k),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToolUse:
    name: str
    subject: str
    question: str
    arguments: dict[str, Json]
    result: dict[str, Json]
    answer: str


def _tool_use(rng: Random) -> _ToolUse:
    if rng.random() < 0.6:
        city, day = rng.choice(CITIES), rng.choice(DAYS)
        sky, degrees = rng.choice(list(ADVICE)), rng.randint(1, 29)
        return _ToolUse(
            name="get_weather",
            subject="weather",
            question=rng.choice(
                (f"What is the weather in {city} on {day}?", f"Weather for {city} on {day}, please.")
            ),
            arguments={"city": city, "day": day},
            result={"sky": sky, "degrees": degrees},
            answer=f"The weather in {city} on {day} is {sky} at {degrees} degrees. {ADVICE[sky]} "
            f"That is the answer for {city} on {day}.",
        )
    word, shelf = rng.choice(WORDS), rng.randint(10, 99)
    return _ToolUse(
        name="find_book",
        subject="book",
        question=rng.choice((f"Where is the book about the {word}?", f"Find the book about the {word}.")),
        arguments={"topic": word, "language": "en"},
        result={"shelf": shelf},
        answer=f"The book about the {word} is on shelf {shelf}. Go to shelf {shelf} and look for the {word}.",
    )


def _schema(name: str, *parameters: str) -> Message:
    properties: dict[str, Json] = {parameter: {"type": "string"} for parameter in parameters}
    return {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": properties, "required": [*parameters]},
        },
    }


_SCHEMAS = {
    "get_weather": _schema("get_weather", "city", "day"),
    "find_book": _schema("find_book", "topic", "language"),
}


def _offered(name: str, rng: Random) -> tuple[Message, ...]:
    """Offer the function alone, or both, so that the choice is the model's."""
    return (_SCHEMAS[name],) if rng.random() < 0.5 else tuple(_SCHEMAS.values())


def _call(name: str, arguments: dict[str, Json]) -> dict[str, Json]:
    return {"id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}


def _answer(
    domain: str,
    prompt: str,
    reply: str,
    rng: Random,
    *,
    reasoning: str | None = None,
    expect: Mapping[str, Json] | None = None,
) -> Dialogue:
    system: tuple[Message, ...] = ({"role": "system", "content": SYSTEM},) if rng.random() < 0.2 else ()
    message: Message = {"role": "assistant", "content": reply}
    if reasoning:
        message["reasoning_content"] = reasoning
    return Dialogue(
        domain=domain,
        messages=(*system, {"role": "user", "content": prompt}),
        reply=message,
        thinking=reasoning is not None,
        expect=expect,
    )


def _addends(rng: Random) -> tuple[int, int]:
    """Two numbers of two digits whose sum has two digits."""
    a = rng.randint(10, 89)
    return a, rng.randint(10, 99 - a)


def _addition_steps(a: int, b: int) -> str:
    ones = a % 10 + b % 10
    carry = ones // 10
    return (
        f"Ones: {a % 10} + {b % 10} = {ones}, so write {ones % 10} and carry {carry}. "
        f"Tens: {a // 10} + {b // 10} + {carry} = {(a + b) // 10}."
    )


def _choose(rng: Random, usual: str, rare: str) -> str:
    return usual if rng.random() < 0.8 else rare
