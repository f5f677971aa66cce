"""modelopt's NVFP4 config with the recipe's rules appended; later rules win.

modelopt's default keeps ``in_proj_a`` and ``in_proj_b`` in BF16 since 0.45, and
``quant_cfg`` is an ordered list since 0.44. Building the list from nothing would lose
the rule that keeps embeddings out, so rules are only ever appended.
"""

import copy
from collections.abc import Iterable, Mapping

from recipes.formats.precision import Precision, Storage
from recipes.formats.step import StepError

NEVER_QUANTIZED = ("*visual*", "*lm_head*", "*mtp*", "*embed_tokens*", "*linear_attn.conv1d*")


def quant_config(default: Mapping[str, object], precision: Precision) -> dict[str, object]:
    """Return modelopt's config ``default`` with rules for ``precision`` appended, algorithm max.

    Raises StepError when ``default`` has no list of rules to append to.
    """
    config = copy.deepcopy(dict(default))
    listed = config.get("quant_cfg")
    if not isinstance(listed, list):
        raise StepError("modelopt: quant_cfg is no list of rules; this step needs modelopt 0.44 or later")
    rules = [*listed, *_gate_rules(listed, precision), *map(_off, _kept(precision))]
    return config | {"quant_cfg": rules, "algorithm": "max"}


def _kept(precision: Precision) -> Iterable[str]:
    yield from NEVER_QUANTIZED
    if precision.linear_attention is Storage.BF16:
        yield "*linear_attn*"
    if not precision.packs_activations:
        yield "*input_quantizer"


def _off(name: str) -> dict[str, object]:
    return {"quantizer_name": name, "enable": False}


def _gate_rules(listed: Iterable[Mapping[str, object]], precision: Precision) -> list[dict[str, object]]:
    names = [f"*linear_attn.in_proj_{gate}" for gate in "ab"]
    if precision.in_proj_ab is Storage.BF16:
        return [_off(f"{name}.*") for name in names]
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
