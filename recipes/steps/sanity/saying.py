"""Whether a reply says the answer. Pure."""

import re
from collections.abc import Collection

_WORDS = re.compile(r"[^\W_]+")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def says(reply: str, answer: str, others: Collection[str] = ()) -> bool:
    """Tell whether ``reply`` holds ``answer`` as whole words, and none of ``others`` beside it.

    Small numbers count as digits and as words. ``others`` are the answers that would be wrong: a
    reply that names several answers none.
    """
    words = _words(reply)
    wrong = {word for other in others for word in _words(other)} - set(_words(answer))
    return _within(_words(answer), words) and not wrong & set(words)


def _words(text: str) -> list[str]:
    found = [match.lower() for match in _WORDS.findall(text)]
    return [str(NUMBERS.index(word)) if word in NUMBERS else word for word in found]


def _within(part: list[str], whole: list[str]) -> bool:
    return bool(part) and any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
