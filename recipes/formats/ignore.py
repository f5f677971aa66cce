"""Ignore lists as vLLM reads modelopt's: which Linears are left unquantized, by its own rules.

    kept = kept_by_vllm(["lm_head", "model.visual.merger.linear_fc1"], ["*visual*", "lm_head"])

vLLM matches a modelopt list (``quantization_config.ignore``) against its own module
names, after fusing and renaming, not against the names of the checkpoint:

1. ``x*`` becomes ``x`` and ``x.*``; then a leading ``model.visual.``, ``lm_head.`` or
   ``model.language_model.`` is renamed. A pattern that begins with ``*`` is not renamed,
   so ``*model.visual*`` matches nothing: the tower is called ``visual.`` there.
2. A module is kept when its name is listed (a fused one: when all its parts are, an
   error when only some are), when an entry is a substring of it, or when one matches as
   a shell pattern.

A part of a fused module has no name of its own there: ``*in_proj_a*`` matches nothing,
``*in_proj_ba*`` does.

Source: vLLM 0.32, ``model_executor/layers/quantization/modelopt.py``
(``is_layer_excluded``, ``apply_vllm_mapper``), ``utils/quant_utils.py``
(``is_layer_skipped``), ``models/qwen3_5.py``, ``models/qwen3_5_mtp.py``. The draft head
is a model of its own whose names are not renamed.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from recipes.formats.qwen3_5 import LM_HEAD, MTP_PREFIX, is_linear

FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "qkv": ("qkv",),
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
}

_RENAMED_PREFIXES = (
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
)
_FUSED_BY_PART = {part: fused for fused, parts in FUSED.items() for part in parts}
# Built without a quantization config: https://github.com/vllm-project/vllm/pull/38832
_NEVER_QUANTIZED = "mtp.fc"


class IgnoreError(ValueError):
    """A list under which an engine refuses to build a module; names the module."""


def kept_by_vllm(modules: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return those of ``modules`` (checkpoint names) that vLLM builds unquantized.

    A module that is no Linear is always kept. Raises IgnoreError when the list names
    some but not all parts of a module that vLLM fuses.
    """
    renamed = rename_for_vllm(patterns)
    return frozenset(module for module in modules if _is_kept(module, patterns, renamed))


def named_for_vllm(modules: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    """Return those of ``modules`` that the list itself covers, whatever vLLM does without it."""
    renamed = rename_for_vllm(patterns)
    return frozenset(module for module in modules if _is_named(module, patterns, renamed))


def rename_for_vllm(patterns: Sequence[str]) -> list[str]:
    """Return ``patterns`` as vLLM holds them for the body: split, then renamed."""
    return [rename(part) for pattern in patterns for part in _split(pattern)]


def vllm_name(module: str) -> str:
    """Return the name under which vLLM builds checkpoint module ``module`` (fused parts: the whole)."""
    if module == LM_HEAD:
        return f"language_model.{LM_HEAD}"
    return fused_name(rename(module))


def fused_name(name: str) -> str:
    """Return ``name`` with its leaf replaced by the whole that engines fuse it into, if any."""
    parent, dot, leaf = name.rpartition(".")
    return f"{parent}{dot}{_FUSED_BY_PART.get(leaf, leaf)}"


def rename(name: str) -> str:
    """Return checkpoint name ``name`` as vLLM builds it, parts of fused modules still apart."""
    for old, new in _RENAMED_PREFIXES:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether vLLM excludes its module ``name`` under a renamed list ``patterns``.

    Raises IgnoreError when some but not all parts of a fused module are listed.
    """
    return (
        _is_listed(name, patterns)
        or any(_is_part_of(pattern, name) for pattern in patterns)
        or any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def _is_kept(module: str, patterns: Sequence[str], renamed: Sequence[str]) -> bool:
    if not is_linear(module) or module == _NEVER_QUANTIZED:
        return True
    return _is_named(module, patterns, renamed)


def _is_named(module: str, patterns: Sequence[str], renamed: Sequence[str]) -> bool:
    if module.startswith(MTP_PREFIX):
        return is_excluded(vllm_name(module), patterns)
    if module == LM_HEAD:
        # The draft model builds the head a second time, under its own name.
        return is_excluded(vllm_name(module), renamed) and is_excluded(LM_HEAD, patterns)
    return is_excluded(vllm_name(module), renamed)


def _split(pattern: str) -> tuple[str, ...]:
    if len(pattern) >= 2 and pattern.endswith("*") and not pattern.endswith(".*"):
        return pattern[:-1], f"{pattern[:-1]}.*"
    return (pattern,)


def _is_listed(name: str, patterns: Sequence[str]) -> bool:
    leaf = name.rpartition(".")[2]
    if leaf not in FUSED or name in patterns:
        return name in patterns
    listed = {name.replace(leaf, part) in patterns for part in FUSED[leaf]}
    if len(listed) > 1:
        raise IgnoreError(f"{name}: the ignore list names some but not all of {', '.join(FUSED[leaf])}")
    return listed.pop()


def _is_part_of(pattern: str, name: str) -> bool:
    return pattern != name and (pattern in name or pattern in name.removeprefix("language_model."))
