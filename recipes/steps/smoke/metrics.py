r"""The server's counters: Prometheus text in, differences out. Pure.

    before, after = parse(text_1), parse(text_2)
    spec_decode(before, after)   # Drafting(drafts=83, draft_tokens=166, accepted=36, ...)

A counter that is missing is absent, never zero: a server without its draft head has
no such counters, and zero would read as "drafted nothing".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from recipes.formats.step import StepError

PREFIX = "vllm:spec_decode_num_"

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\d+)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the exposition: a value under a set of labels."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafting:
    """What the draft head did between two readings.

    ``accepted_at[i]`` counts the drafts whose token at position ``i`` was accepted.
    """

    drafts: int
    draft_tokens: int
    accepted: int
    accepted_at: tuple[int, ...]


class Reading:
    """All counters of the server at one moment."""

    def __init__(self, samples: Mapping[str, tuple[Sample, ...]]) -> None:
        self._samples = samples

    def total(self, name: str) -> float | None:
        """Return the sum of ``name`` over its labels, None when it is absent."""
        samples = self._samples.get(name)
        return None if samples is None else sum(sample.value for sample in samples)

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of ``name`` for each value of ``label``."""
        result: dict[str, float] = {}
        for sample in self._samples.get(name, ()):
            if label in sample.labels:
                key = sample.labels[label]
                result[key] = result.get(key, 0.0) + sample.value
        return result


def parse(text: str) -> Reading:
    """Parse Prometheus text. ``*_created`` times and comments are left out.

    Raises StepError with the line that is not a sample.
    """
    found: dict[str, list[Sample]] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        if match is None:
            raise StepError(f"/metrics: expected a sample, got {line[:200]!r}")
        if not match["name"].endswith("_created"):
            labels = dict(_LABEL.findall(match["labels"] or ""))
            found.setdefault(match["name"], []).append(Sample(labels, float(match["value"])))
    return Reading({name: tuple(samples) for name, samples in found.items()})


def growth(before: Reading, after: Reading, name: str) -> float | None:
    """Return how much counter ``name`` grew, None when it is absent.

    Raises StepError when it shrank: the server was restarted in between.
    """
    end = after.total(name)
    if end is None:
        return None
    grown = end - (before.total(name) or 0.0)
    if grown < 0:
        raise StepError(f"/metrics: {name} fell by {-grown:g}: the server was restarted while measuring")
    return grown


def spec_decode(before: Reading, after: Reading) -> Drafting | None:
    """Return what was drafted between two readings, None without such counters."""
    drafts = growth(before, after, f"{PREFIX}drafts_total")
    draft_tokens = growth(before, after, f"{PREFIX}draft_tokens_total")
    accepted = growth(before, after, f"{PREFIX}accepted_tokens_total")
    if drafts is None or draft_tokens is None or accepted is None:
        return None
    return Drafting(
        drafts=round(drafts),
        draft_tokens=round(draft_tokens),
        accepted=round(accepted),
        accepted_at=_accepted_at(before, after),
    )


def _accepted_at(before: Reading, after: Reading) -> tuple[int, ...]:
    name = f"{PREFIX}accepted_tokens_per_pos_total"
    start, end = before.by_label(name, "position"), after.by_label(name, "position")
    return tuple(round(end[at] - start.get(at, 0.0)) for at in sorted(end, key=int))
