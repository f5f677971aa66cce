"""The JSON files of a release tree, as functions of the master's and the exporter's files.

The master's own config is kept field by field: exporters rewrite it with their defaults.
"""

from collections.abc import Mapping

from recipes.formats import strict_json

SAMPLING = frozenset(
    {
        "do_sample",
        "frequency_penalty",
        "max_new_tokens",
        "min_p",
        "presence_penalty",
        "repetition_penalty",
        "temperature",
        "top_k",
        "top_p",
    }
)
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# Paths of the machine that saved the config.
LOCAL_FIELDS = ("_name_or_path",)


def plain_config(master: Mapping[str, object], tree: Mapping[str, object]) -> dict[str, object]:
    """Return config.json of a BF16 tree: the master's, with its draft head declared.

    Raises ValueError when the tree or the master says that it is quantized.
    """
    for name, config in (("tree", tree), ("master", master)):
        if "quantization_config" in config:
            raise ValueError(f"{name}: config.json: expected a BF16 checkpoint, got a quantization_config")
    return _base_config(master)


def quantized_config(
    master: Mapping[str, object], tree: Mapping[str, object], ignore: list[str]
) -> dict[str, object]:
    """Return config.json of an NVFP4 tree: the master's, with the exporter's quantization_config.

    ``ignore`` replaces the exporter's list. Raises ValueError when there is none to replace.
    """
    quantization = strict_json.table(tree, "quantization_config", "tree: config.json")
    return _base_config(master) | {"quantization_config": quantization | {"ignore": ignore}}


def quant_config(exported: Mapping[str, object], ignore: list[str]) -> dict[str, object]:
    """Return hf_quant_config.json with ``ignore`` as exclude_modules. Raises ValueError."""
    quantization = strict_json.table(exported, "quantization", "tree: hf_quant_config.json")
    return dict(exported) | {"quantization": quantization | {"exclude_modules": ignore}}


def generation_config(master: Mapping[str, object], sampling: Mapping[str, object]) -> dict[str, object]:
    """Return generation_config.json: the master's token ids, the recipe's sampling.

    Raises ValueError for a sampling key nobody reads, a value that is no number, or when
    the master names no end-of-sequence token.
    """
    for key, value in sampling.items():
        if key not in SAMPLING or not isinstance(value, int | float):
            raise ValueError(
                f"params.json: sampling: expected numbers for {sorted(SAMPLING)}, got {key}={value}"
            )
    ids = {key: master[key] for key in TOKEN_IDS if master.get(key) is not None}
    if "eos_token_id" not in ids:
        raise ValueError("master: generation_config.json: eos_token_id: expected token ids, got none")
    kept = (
        {"transformers_version": master["transformers_version"]} if "transformers_version" in master else {}
    )
    sampled = float(_number(sampling.get("temperature", 1.0))) > 0
    return {"do_sample": sampled} | dict(sampling) | ids | kept


def _base_config(master: Mapping[str, object]) -> dict[str, object]:
    text = strict_json.table(master, "text_config", "master: config.json")
    config = {key: value for key, value in master.items() if key not in LOCAL_FIELDS}
    text = {key: value for key, value in text.items() if key not in LOCAL_FIELDS}
    return config | {"text_config": text | {"mtp_num_hidden_layers": 1}}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
