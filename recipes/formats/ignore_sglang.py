"""Ignore lists as SGLang reads modelopt's: a second engine, with rules of its own.

    kept = kept_by_sglang(["lm_head", "model.language_model.layers.0.mlp.up_proj"], ["lm_head"])

1. A module is kept when its name is listed: a fused one when all its parts are, an error
   when only some are.
2. In an entry ``.`` is a dot and ``*`` anything; the rest is a regular expression. It keeps
   a module when it matches the whole name or one dotted part of it.

Names are those of the checkpoint, fused ones aside. The vision tower, the draft head and
``conv1d`` are built without a quantization config, whatever the list says.

Source: SGLang of August 2026, read and not run: ``layers/quantization/modelopt_quant.py``
(``is_layer_excluded``), ``quantization/utils.py`` (``is_layer_skipped``), ``models/qwen3_vl.py``,
``models/qwen3_5.py``, ``models/qwen3_5_mtp.py``. Before
https://github.com/sgl-project/sglang/pull/31220 it built all attention of this model BF16
and could not load a release like ours.
"""

import re
from collections.abc import Iterable, Sequence

from recipes.formats.ignore import FUSED, IgnoreError, fused_name
from recipes.formats.qwen3_5 import MTP_PREFIX, VISION_PREFIX, is_linear


def kept_by_sglang(modules: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return those of ``modules`` (checkpoint names) that SGLang builds unquantized.

    Raises IgnoreError when the list names some but not all parts of a fused module, or
    holds an entry that is no regular expression.
    """
    expressions = [_expression(pattern) for pattern in patterns]
    return frozenset(module for module in modules if _is_kept(module, patterns, expressions))


def named_for_sglang(modules: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return those of ``modules`` that the list itself covers, whatever SGLang does without it."""
    expressions = [_expression(pattern) for pattern in patterns]
    return frozenset(module for module in modules if _is_named(fused_name(module), patterns, expressions))


def _is_kept(module: str, patterns: Sequence[str], expressions: Sequence[re.Pattern[str]]) -> bool:
    always = not is_linear(module) or module.startswith((VISION_PREFIX, MTP_PREFIX))
    return always or _is_named(fused_name(module), patterns, expressions)


def _is_named(name: str, patterns: Sequence[str], expressions: Sequence[re.Pattern[str]]) -> bool:
    if _is_listed(name, patterns):
        return True
    parts = (name, *name.split("."))
    return any(expression.fullmatch(part) for expression in expressions for part in parts)


def _is_listed(name: str, patterns: Sequence[str]) -> bool:
    leaf = name.rpartition(".")[2]
    if leaf not in FUSED:
        return name in patterns
    listed = {name.replace(leaf, part) in patterns for part in FUSED[leaf]}
    if len(listed) > 1:
        raise IgnoreError(f"{name}: the ignore list names some but not all of {', '.join(FUSED[leaf])}")
    return listed.pop()


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern.replace(".", r"\.").replace("*", ".*"))
    except re.error as error:
        raise IgnoreError(f"{pattern!r}: SGLang reads it as a regular expression: {error}") from error
