"""The JSON beside a body, in modelopt's form: engines read it to know what is packed and how."""

from collections.abc import Iterable, Mapping

from recipes.formats import nvfp4
from recipes.formats.precision import Precision
from recipes.formats.qwen3_5 import Kind, kind_of, module_of

CONFIG_FILE = "config.json"
QUANT_CONFIG_FILE = "hf_quant_config.json"
CONFIG_FILES = frozenset({CONFIG_FILE, QUANT_CONFIG_FILE})

# Whose layout and bytes these are; engines choose their reader by it. Tests hold the whole
# file against the one that this version writes.
PRODUCER = {"name": "modelopt", "version": "0.47.0"}

_KEPT_ONE_BY_ONE = frozenset({Kind.LM_HEAD, Kind.EMBEDDING, Kind.CONV1D})
_VISION_TOWER = "model.visual*"
# Gates may be kept alone; out_proj is kept with all of its block.
_ALL_OF_LINEAR_ATTENTION = "linear_attn.out_proj"


def exclude_modules(kept_tensors: Iterable[str], kept_linears: Iterable[str]) -> list[str]:
    """Return modelopt's list of modules that are not packed, sorted.

    ``kept_tensors`` are the tensors that leave as they came; ``kept_linears`` the Linears of
    the body among them. A block that is kept whole is one entry.
    """
    found = set(kept_linears)
    whole = {module_of(name) for name in found if name.endswith(_ALL_OF_LINEAR_ATTENTION)}
    for name in kept_tensors:
        kind = kind_of(name)
        if kind in _KEPT_ONE_BY_ONE:
            found.add(module_of(name))
        elif kind is Kind.VISION:
            found.add(_VISION_TOWER)
    single = (name for name in found if module_of(name) not in whole)
    return sorted([*single, *(f"{block}*" for block in whole)])


def config(master: Mapping[str, object], excluded: list[str], precision: Precision) -> dict[str, object]:
    """Return config.json: the master's, with its ``quantization_config``.

    Raises ValueError when the master says that it is quantized.
    """
    if "quantization_config" in master:
        raise ValueError(f"{CONFIG_FILE}: expected a BF16 checkpoint, got a quantization_config")
    packing = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": nvfp4.GROUP_SIZE}
    inputs = {"input_activations": packing} if precision.packs_activations else {}
    return dict(master) | {
        "quantization_config": {
            "config_groups": {"group_0": {**inputs, "weights": packing, "targets": ["Linear"]}},
            "ignore": excluded,
            "quant_algo": precision.algorithm,
            "producer": PRODUCER,
            "quant_method": "modelopt",
        }
    }


def quant_config(excluded: list[str], precision: Precision) -> dict[str, object]:
    """Return hf_quant_config.json."""
    return {
        "producer": PRODUCER,
        "quantization": {
            "quant_algo": precision.algorithm,
            "kv_cache_quant_algo": None,
            "group_size": nvfp4.GROUP_SIZE,
            "exclude_modules": excluded,
        },
    }
