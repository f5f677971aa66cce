"""modelopt's NVFP4 config with the recipe's rules appended; later rules win.

modelopt's default keeps ``in_proj_a`` and ``in_proj_b`` in BF16 since 0.45, and
``quant_cfg`` is an ordered list since 0.44. Building the list from nothing would lose
the rule that keeps embeddings out, so rules are only ever appended.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch

from recipes.formats import strict_json
from recipes.formats.qwen3_5 import Layout
from recipes.formats.step import Exit, StepError, Workdir

NEVER_QUANTIZED = ("*visual*", "*lm_head*", "*mtp*", "*embed_tokens*")


class InProjAb(StrEnum):
    """How the small gates ``in_proj_a`` and ``in_proj_b`` are stored."""

    NVFP4 = "nvfp4"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the recipe keeps in BF16: ``keep_bf16`` are modelopt patterns."""

    keep_bf16: tuple[str, ...]
    in_proj_ab: InProjAb


def parse_rules(work: Workdir) -> Rules:
    """Read ``keep_bf16`` and ``in_proj_ab`` from the step's parameters.

    Raises StepError when one is missing or of another form.
    """
    try:
        keep = strict_json.strings(work.params, "keep_bf16", "params.json")
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error
    mode = str(work.param("in_proj_ab", str))
    if mode not in list(InProjAb):
        raise StepError(f"params.json: in_proj_ab: expected nvfp4 or bf16, got {mode}", Exit.CONFIG)
    return Rules(keep_bf16=tuple(keep), in_proj_ab=InProjAb(mode))


def quant_config(default: Mapping[str, object], rules: Rules) -> dict[str, object]:
    """Return modelopt's config ``default`` with ``rules`` appended, algorithm max.

    Raises StepError when ``default`` has no list of rules to append to.
    """
    config = copy.deepcopy(dict(default))
    listed = config.get("quant_cfg")
    if not isinstance(listed, list):
        raise StepError("modelopt: quant_cfg is no list of rules; this step needs modelopt 0.44 or later")
    gates = _gate_rules(listed, rules.in_proj_ab)
    kept = [{"quantizer_name": name, "enable": False} for name in (*rules.keep_bf16, *NEVER_QUANTIZED)]
    return config | {"quant_cfg": [*listed, *gates, *kept], "algorithm": "max"}


def fused_groups(layout: Layout, rules: Rules) -> tuple[tuple[str, ...], ...]:
    """Return the fused groups of modules that ``rules`` ask to quantize."""
    return layout.fused_groups(in_proj_ab=rules.in_proj_ab is InProjAb.NVFP4)


def expected_modules(layout: Layout, rules: Rules) -> frozenset[str]:
    """Return the module names that ``rules`` ask to quantize."""
    return frozenset(name for group in fused_groups(layout, rules) for name in group)


def refuse_kept(modules: Iterable[str], rules: Rules) -> None:
    """Check that no ``keep_bf16`` pattern reaches one of ``modules``, as modelopt reads patterns.

    Raises StepError naming the first module that the recipe both packs and keeps.
    """
    for name in sorted(modules):
        for pattern in rules.keep_bf16:
            if any(fnmatch(f"{name}.{kind}_quantizer", pattern) for kind in ("weight", "input")):
                flaw = f"packed by in_proj_ab and the layout, but kept by {pattern!r} of keep_bf16"
                raise StepError(f"{name}: {flaw}", Exit.CONFIG)


def _gate_rules(listed: Iterable[Mapping[str, object]], mode: InProjAb) -> list[dict[str, object]]:
    names = [f"*linear_attn.in_proj_{gate}" for gate in "ab"]
    if mode is InProjAb.BF16:
        return [{"quantizer_name": f"{name}.*", "enable": False} for name in names]
    formats = {str(rule.get("quantizer_name")): rule.get("cfg") for rule in listed}
    return [
        {
            "quantizer_name": f"{name}.{kind}_quantizer",
            "cfg": copy.deepcopy(formats[f"*{kind}_quantizer"]),
            "enable": True,
        }
        for name in names
        for kind in ("weight", "input")
    ]
