"""Claims about the files beside the weights: ignore list, configs, index, code, chat template."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from recipes.formats import ignore, nvfp4, release_files, strict_json
from recipes.formats.checkpoint import INDEX_FILE, Checkpoint
from recipes.formats.qwen3_5 import is_linear, module_of
from recipes.steps.prove.claim import Claim, Finding, count, find
from recipes.steps.prove.trees import Trees

CONFIG = "config.json"
QUANT_CONFIG = "hf_quant_config.json"
SAME_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    release_files.TEMPLATE_FILE,
)


def claims(trees: Trees) -> Iterator[Claim]:
    """Yield the claims about configs and other small files."""
    yield Claim(
        "ignore-list-vllm",
        "modules that vLLM keeps under quantization_config.ignore: modules without scales, both ways",
        partial(_ignore_list, trees),
    )
    yield Claim(
        "configs-agree",
        f"{CONFIG} and {QUANT_CONFIG} of the nvfp4 tree, {CONFIG} of the master tree",
        partial(_configs_agree, trees),
    )
    yield Claim(
        "same-interface",
        f"bytes of {', '.join(SAME_FILES)} in both trees",
        partial(_same_interface, trees),
    )
    yield Claim(
        "index-totals",
        f"total_size of {INDEX_FILE} in both trees: the sum over all headers",
        partial(_index_totals, trees),
    )
    yield Claim(
        "no-code",
        "every file of both trees: no code, no pickle, no auto_map",
        partial(_no_code, trees),
    )


def _ignore_list(trees: Trees) -> Finding:
    quantization = strict_json.table(_config(trees.nvfp4), "quantization_config", CONFIG)
    patterns = strict_json.strings(quantization, "ignore", CONFIG)
    packed = set(trees.quantized())
    modules = sorted({module for module in map(module_of, trees.nvfp4.tensors) if is_linear(module)} | packed)
    number = count(modules, "Linear")
    kept = ignore.kept_by_vllm(modules, patterns)
    flaws = [
        f"{module}: {'packed' if module in packed else 'BF16'}, but vLLM would build it otherwise"
        for module in modules
        if (module in packed) == (module in kept)
    ]
    return find(flaws, f"{len(packed)} of {number} Linears built NVFP4, the others BF16, under {patterns}")


def _configs_agree(trees: Trees) -> Finding:
    packed, plain = _config(trees.nvfp4), _config(trees.release_master)
    exported = strict_json.read_table(trees.nvfp4.root / QUANT_CONFIG)
    quantization = strict_json.table(packed, "quantization_config", CONFIG)
    old = strict_json.table(exported, "quantization", QUANT_CONFIG)
    flaws = [*_algorithm_flaws(quantization, old)]
    if "quantization_config" in plain:
        flaws.append(f"master tree: {CONFIG}: a BF16 tree with a quantization_config")
    packed = {key: value for key, value in packed.items() if key != "quantization_config"}
    flaws += [f"{CONFIG}: {key} differs between the trees" for key in _unequal(packed, plain)]
    text = strict_json.table(plain, "text_config", CONFIG)
    if text.get("mtp_num_hidden_layers") != 1:
        flaws.append(f"{CONFIG}: mtp_num_hidden_layers: expected 1, got {text.get('mtp_num_hidden_layers')}")
    return find(flaws, "NVFP4 in groups of 16, one ignore list, one draft layer")


def _algorithm_flaws(new: Mapping[str, object], old: Mapping[str, object]) -> Iterator[str]:
    if new.get("ignore") != old.get("exclude_modules"):
        yield f"{QUANT_CONFIG}: exclude_modules is not the ignore list of {CONFIG}"
    for file, table in ((CONFIG, new), (QUANT_CONFIG, old)):
        if table.get("quant_algo") != "NVFP4":
            yield f"{file}: quant_algo: expected NVFP4, got {table.get('quant_algo')}"
    if old.get("group_size") != nvfp4.GROUP_SIZE:
        yield f"{QUANT_CONFIG}: group_size: expected {nvfp4.GROUP_SIZE}, got {old.get('group_size')}"


def _same_interface(trees: Trees) -> Finding:
    ours, theirs = trees.nvfp4.root, trees.release_master.root
    flaws = [
        f"{file}: differs between the trees"
        for file in SAME_FILES
        if _bytes(ours / file) != _bytes(theirs / file)
    ]
    if "chat_template" in strict_json.read_table(ours / "tokenizer_config.json"):
        flaws.append("tokenizer_config.json: a second chat template")
    return find(flaws, f"{len(SAME_FILES)} files equal, one chat template")


def _index_totals(trees: Trees) -> Finding:
    totals = [
        (tree, ours, None if ours.index is None else ours.index.total_size) for tree, ours in trees.releases
    ]
    flaws = (
        f"{tree}: total_size: expected {ours.data_bytes}, got {total}"
        for tree, ours, total in totals
        if total != ours.data_bytes
    )
    return find(flaws, "; ".join(f"{tree}: {total} bytes" for tree, _, total in totals))


def _no_code(trees: Trees) -> Finding:
    flaws = (f"{tree}: {flaw}" for tree, ours in trees.releases for flaw in release_files.code_in(ours.root))
    return find(flaws, "none in both trees")


def _config(checkpoint: Checkpoint) -> dict[str, object]:
    return strict_json.read_table(checkpoint.root / CONFIG)


def _unequal(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def _bytes(path: Path) -> bytes:
    return path.read_bytes()
