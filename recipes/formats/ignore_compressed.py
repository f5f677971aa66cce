"""Ignore lists of compressed-tensors, as vLLM reads them: exact names and ``re:`` expressions.

    kept = kept_by_compressed_tensors(["mtp.fc"], ["re:.*mtp.*"])

1. ``re:x`` keeps a module when ``x`` matches from the beginning of its name; any other
   entry is one name, renamed as vLLM renames modules. No entry is a shell pattern.
2. A fused module is kept when its own name matches, or when each of its parts' names does;
   an error when only some do.

``lm_head`` is quantized only where a target names it, which none does here.

Source: vLLM 0.32, ``quantization/compressed_tensors/utils.py`` (``should_ignore_layer``),
``quantization/utils/config_utils.py`` (``find_matching_patterns``); compressed-tensors 0.17,
``utils/match.py`` (``match_name``), which has the same two rules.
"""

import re
from collections.abc import Iterable, Sequence

from recipes.formats.ignore import FUSED, IgnoreError, rename, vllm_name
from recipes.formats.qwen3_5 import LM_HEAD, MTP_PREFIX, is_linear

EXPRESSION = "re:"


def kept_by_compressed_tensors(modules: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return those of ``modules`` (checkpoint names) that vLLM builds unquantized.

    Raises IgnoreError when the list covers some but not all parts of a fused module, or
    holds an entry that is no regular expression.
    """
    return frozenset(
        module
        for module in modules
        if not is_linear(module) or module == LM_HEAD or is_ignored(vllm_name(module), _for(module, patterns))
    )


def named_for_compressed_tensors(modules: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return those of ``modules`` that the list itself covers, whatever vLLM does without it."""
    return frozenset(module for module in modules if is_ignored(vllm_name(module), _for(module, patterns)))


def rename_for_compressed_tensors(patterns: Sequence[str]) -> list[str]:
    """Return ``patterns`` as vLLM holds them for the body: names renamed, expressions as they are."""
    return [
        pattern if pattern.startswith(EXPRESSION) or "." not in pattern else rename(pattern)
        for pattern in patterns
    ]


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """Whether vLLM leaves its module ``name`` out under a renamed list ``patterns``.

    Raises IgnoreError when some but not all parts of a fused module match.
    """
    leaf = name.rpartition(".")[2]
    if _matches(name, patterns) or leaf not in FUSED:
        return _matches(name, patterns)
    parts = {_matches(name.replace(leaf, part), patterns) for part in FUSED[leaf]}
    if len(parts) > 1:
        raise IgnoreError(f"{name}: the ignore list names some but not all of {', '.join(FUSED[leaf])}")
    return parts.pop()


def _for(module: str, patterns: Sequence[str]) -> Sequence[str]:
    return patterns if module.startswith(MTP_PREFIX) else rename_for_compressed_tensors(patterns)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(_is_match(name, pattern) for pattern in patterns)


def _is_match(name: str, pattern: str) -> bool:
    if not pattern.startswith(EXPRESSION):
        return name == pattern
    try:
        return re.match(pattern.removeprefix(EXPRESSION), name) is not None
    except re.error as error:
        raise IgnoreError(f"{pattern!r}: expected a regular expression: {error}") from error
