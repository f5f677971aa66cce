"""The shortest ignore list that is right, derived from what is packed in the bytes.

    compile_ignore(kept=["lm_head", "mtp.fc", ...], packed=["...mlp.up_proj", ...], engine=VLLM)
    # ("*visual*", "*linear_attn.conv1d*", "*lm_head*", "*mtp*")

A list is right for an engine when it names every module kept BF16 that a quantizer could
have packed (a Linear or a convolution), and no packed one. That is stricter than what an
engine needs today: each engine builds some modules BF16 whatever the list says, which ones
changes with its version, and another reader of the list knows nothing of it.

Entries are built from whole parts of dotted names: a tower (``visual``, ``mtp``), a kind of
block (``linear_attn``), one of its modules (``linear_attn.conv1d``), a layer
(``layers.3.``). Shortest means fewest entries; of two that cover the same, the shorter text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipes.formats.ignore import IgnoreError, fused_name, kept_by_vllm, named_for_vllm, vllm_name
from recipes.formats.ignore_compressed import kept_by_compressed_tensors, named_for_compressed_tensors
from recipes.formats.ignore_sglang import kept_by_sglang, named_for_sglang
from recipes.formats.qwen3_5 import LM_HEAD, MTP_PREFIX, VISION_PREFIX, is_convolution, is_linear

Matcher = Callable[[Iterable[str], Sequence[str]], frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine's reading of one dialect.

    ``kept`` answers what it builds unquantized, ``named`` what the list itself covers,
    ``name`` what it calls a module, ``entry`` writes an entry for a part of a name.
    """

    title: str
    dialect: str
    kept: Matcher
    named: Matcher
    name: Callable[[str], str]
    entry: Callable[[str], str]

    def flaws(self, kept: Iterable[str], packed: Iterable[str], patterns: Sequence[str]) -> Iterator[str]:
        """Yield a flaw for each module that the engine would build other than the bytes are.

        Raises IgnoreError for a list that it refuses.
        """
        kept, packed = sorted(kept), sorted(packed)
        built = self.kept([*kept, *packed], patterns)
        yield from (
            f"{name}: BF16, but {self.title} would build it NVFP4" for name in kept if name not in built
        )
        yield from (
            f"{name}: packed, but {self.title} would build it BF16" for name in packed if name in built
        )


def _shell(part: str) -> str:
    return f"*{part}*"


def _expression(part: str) -> str:
    return f"re:.*{re.escape(part)}.*"


VLLM = Engine(
    title="vLLM",
    dialect="modelopt",
    kept=kept_by_vllm,
    named=named_for_vllm,
    name=vllm_name,
    entry=_shell,
)
SGLANG = Engine(
    title="SGLang",
    dialect="modelopt",
    kept=kept_by_sglang,
    named=named_for_sglang,
    name=fused_name,
    entry=_shell,
)
# Named as in the checkpoint and not as vLLM fuses: compressed-tensors' own reader matches those,
# and vLLM asks for every part of a fused module.
COMPRESSED_TENSORS = Engine(
    title="vLLM",
    dialect="compressed-tensors",
    kept=kept_by_compressed_tensors,
    named=named_for_compressed_tensors,
    name=lambda module: module,
    entry=_expression,
)
ENGINES: Mapping[str, Engine] = {
    "vllm": VLLM,
    "sglang": SGLANG,
    "compressed-tensors": COMPRESSED_TENSORS,
}

BODY = ""
# As a forward pass visits them.
_ORDER = (VISION_PREFIX, BODY, LM_HEAD, MTP_PREFIX)
_WRAPPERS = ("language_model.", "model.", "language_model.")
# Lists that leave out single layers are forced, so real ones need a handful.
_MAX_TRIES = 10_000


def may_be_packed(module: str) -> bool:
    """Whether a quantizer could have packed ``module``: a Linear or a convolution."""
    return is_linear(module) or is_convolution(module)


def compile_ignore(kept: Iterable[str], packed: Iterable[str], engine: Engine) -> tuple[str, ...]:
    """Return the shortest list under which ``engine`` keeps ``kept`` and builds ``packed`` NVFP4.

    Both hold module names of the checkpoint; of ``kept``, only what could have been packed
    counts. Raises IgnoreError, naming a module, when no list can say it: when some parts of
    a fused module are packed and others kept.
    """
    kept, packed = sorted(filter(may_be_packed, kept)), sorted(packed)
    taken = {engine.name(module): module for module in packed}
    for module in kept:
        if engine.name(module) in taken:
            other = taken[engine.name(module)]
            raise IgnoreError(
                f"{module}: kept BF16, but {engine.title} fuses it with {other}, which is packed"
            )
    chosen = _cover({module: engine.name(module) for module in kept}, list(taken))
    patterns = tuple(map(engine.entry, chosen))
    if not set(kept) <= engine.named(kept, patterns) or engine.named(packed, patterns):
        raise IgnoreError(f"{engine.title} does not read {list(patterns)} as it was derived")
    return patterns


def _cover(kept: Mapping[str, str], packed: Sequence[str]) -> list[str]:
    """Return the fewest parts of names that occur in every kept name and in no packed one."""
    body = "\n".join(packed)
    covers: dict[frozenset[str], str] = {}
    for part in sorted({part for name in kept.values() for part in _parts(name)}, key=_length):
        if part not in body:
            covers.setdefault(frozenset(m for m, name in kept.items() if part in name), part)
    widest = [cover for cover in covers if not any(cover < other for other in covers)]
    chosen = _fewest(frozenset(kept), widest, _Budget(_MAX_TRIES))
    return sorted((covers[cover] for cover in chosen), key=lambda part: _place(part, kept))


class _Budget:
    """How many branches a search may still try before it takes the first that fits."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self) -> bool:
        self._left -= 1
        return self._left > 0


def _fewest(left: frozenset[str], covers: Sequence[frozenset[str]], budget: _Budget) -> list[frozenset[str]]:
    """Return the fewest of ``covers`` that hold all of ``left``: an exact search while the budget lasts."""
    if not left:
        return []
    # The module with the fewest ways to be covered: where there is one way, nothing is tried.
    ways = min(([cover for cover in covers if module in cover] for module in sorted(left)), key=len)
    best: list[frozenset[str]] = []
    for cover in sorted(ways, key=lambda cover: (-len(cover & left), min(cover))):
        found = [cover, *_fewest(left - cover, covers, budget)]
        if not best or len(found) < len(best):
            best = found
        if not budget.spend():
            break
    if not best:
        raise IgnoreError(f"{min(left)}: kept BF16, but no entry tells it from a packed module")
    return best


def _length(part: str) -> tuple[int, str]:
    return len(part), part


def _place(part: str, kept: Mapping[str, str]) -> tuple[int, str]:
    """Return where ``part`` stands in a list: as a forward pass visits what it covers."""
    first = min(module for module, name in kept.items() if part in name)
    towers = (prefix for prefix in (VISION_PREFIX, LM_HEAD, MTP_PREFIX) if first.startswith(prefix))
    return _ORDER.index(next(towers, BODY)), first


def _parts(name: str) -> Iterator[str]:
    """Yield the parts of an engine's name that an entry may hold, a layer's number with its dot."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    parts = name.split(".")
    if parts[0] == "layers":
        yield parts[2]
        yield ".".join(parts[2:])
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end]) + ("." if parts[end - 1].isdigit() else "")
