"""Claims about the files beside the weights: configs, index, code, chat template."""

from collections.abc import Iterator, Mapping
from functools import partial

from recipes.formats import nvfp4, release_files, strict_json
from recipes.formats.checkpoint import INDEX_FILE
from recipes.formats.packing import MODELOPT
from recipes.formats.proofs.claim import Claim, Finding, NotGiven, find, given
from recipes.formats.proofs.subject import CONFIG, QUANT_CONFIG, QUANTIZATION, Body, Subject, Tree

TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = release_files.TEMPLATE_FILE
SAME_FILES = ("generation_config.json", "tokenizer.json", TOKENIZER_CONFIG, TEMPLATE)
_ALGORITHMS = frozenset({"NVFP4", "W4A16_NVFP4", "MIXED_PRECISION"})


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about configs and other small files."""
    body, plain = subject.body, subject.plain
    if body is not None:
        yield Claim(
            "configs-agree",
            f"{QUANTIZATION} of {CONFIG} and {QUANT_CONFIG} of the nvfp4 tree",
            partial(_configs_agree, subject, body),
        )
    if body is not None and plain is not None:
        yield Claim(
            "same-config",
            f"{CONFIG} of both trees, {QUANTIZATION} aside",
            partial(_same_config, body.tree, plain),
        )
        yield Claim(
            "same-interface",
            f"bytes of {', '.join(SAME_FILES)} in both trees",
            partial(_same_interface, body.tree, plain),
        )
    yield Claim(
        "one-chat-template",
        f"{TEMPLATE} and chat_template of {TOKENIZER_CONFIG}",
        partial(_one_template, subject),
    )
    yield Claim(
        "chat-template-locked",
        f"bytes of {TEMPLATE}: the locked template",
        given(subject.template, partial(_template_locked, subject)),
    )
    yield Claim(
        "index-totals",
        f"total_size of {INDEX_FILE}: the sum over all headers",
        partial(_index_totals, subject),
    )
    yield Claim("no-code", "every file: no code, no pickle, no auto_map", partial(_no_code, subject))


def _configs_agree(subject: Subject, body: Body) -> Finding:
    tree = body.tree
    new = tree.config.get(QUANTIZATION)
    old = _exported(tree)
    flaws = [f"{CONFIG}: no {QUANTIZATION}"] if subject.is_release and not isinstance(new, dict) else []
    if subject.is_release and old is None:
        flaws.append(f"{QUANT_CONFIG}: no such file, which older engines read")
    new = new if isinstance(new, dict) else None
    if body.scheme is MODELOPT:
        flaws += _algorithm_flaws(new, old, _algorithms(subject))
    return find(flaws, f"{body.scheme.name}, NVFP4 in groups of {nvfp4.GROUP_SIZE}, one ignore list")


def _exported(tree: Tree) -> Mapping[str, object] | None:
    path = tree.root / QUANT_CONFIG
    if not path.exists():
        return None
    return strict_json.table(strict_json.read_table(path), "quantization", QUANT_CONFIG)


def _algorithms(subject: Subject) -> frozenset[str]:
    """Return what the configs may name: what the recipe asks for, or any where there is none."""
    if isinstance(subject.recipe, NotGiven):
        return _ALGORITHMS
    return frozenset({subject.recipe.precision.algorithm})


def _algorithm_flaws(
    new: Mapping[str, object] | None, old: Mapping[str, object] | None, wanted: frozenset[str]
) -> Iterator[str]:
    if (
        new is not None
        and old is not None
        and _sorted(new.get("ignore")) != _sorted(old.get("exclude_modules"))
    ):
        yield f"{QUANT_CONFIG}: exclude_modules is not the ignore list of {CONFIG}"
    for file, table in ((CONFIG, new), (QUANT_CONFIG, old)):
        algorithm = None if table is None else table.get("quant_algo")
        if table is not None and algorithm not in wanted:
            yield f"{file}: quant_algo: expected {' or '.join(sorted(wanted))}, got {algorithm}"
    if new is not None and old is not None and new.get("quant_algo") != old.get("quant_algo"):
        yield f"{QUANT_CONFIG}: quant_algo is not that of {CONFIG}"
    group_size = nvfp4.GROUP_SIZE if old is None else old.get("group_size")
    if group_size != nvfp4.GROUP_SIZE:
        yield f"{QUANT_CONFIG}: group_size: expected {nvfp4.GROUP_SIZE}, got {group_size}"
    for number in sorted(_group_sizes(new) - {nvfp4.GROUP_SIZE}):
        yield f"{CONFIG}: {QUANTIZATION}: group_size: expected {nvfp4.GROUP_SIZE}, got {number}"


def _group_sizes(table: Mapping[str, object] | None) -> set[int]:
    """Return every group size that ``config_groups`` names."""
    groups = (table or {}).get("config_groups")
    found = [
        part for group in (groups.values() if isinstance(groups, dict) else ()) for part in _parts(group)
    ]
    return {size for part in found if type(size := part.get("group_size")) is int}


def _parts(group: object) -> list[Mapping[str, object]]:
    if not isinstance(group, dict):
        return []
    return [part for key in ("weights", "input_activations") if isinstance(part := group.get(key), dict)]


def _same_config(packed: Tree, plain: Tree) -> Finding:
    flaws = []
    if QUANTIZATION in plain.config:
        flaws.append(f"master tree: {CONFIG}: a BF16 tree with a {QUANTIZATION}")
    ours = {key: value for key, value in packed.config.items() if key != QUANTIZATION}
    flaws += [f"{CONFIG}: {key} differs between the trees" for key in _unequal(ours, plain.config)]
    return find(flaws, f"{len(ours)} fields equal")


def _same_interface(packed: Tree, plain: Tree) -> Finding:
    flaws = (
        f"{file}: differs between the trees"
        for file in SAME_FILES
        if (packed.root / file).read_bytes() != (plain.root / file).read_bytes()
    )
    return find(flaws, f"{len(SAME_FILES)} files equal")


def _one_template(subject: Subject) -> Finding:
    flaws = [flaw for tree in subject.trees for flaw in _template_flaws(tree, subject.is_release)]
    return find(flaws, "no second template")


def _template_flaws(tree: Tree, is_release: bool) -> Iterator[str]:
    path = tree.root / TOKENIZER_CONFIG
    second = strict_json.read_table(path).get("chat_template") if path.exists() else None
    file = tree.root / TEMPLATE
    if second is None:
        return
    if is_release:
        yield f"{tree.name}: {TOKENIZER_CONFIG}: a second chat template"
    elif file.exists() and second != file.read_text(encoding="utf-8", errors="replace"):
        yield f"{tree.name}: {TOKENIZER_CONFIG}: a chat template that is not {TEMPLATE}"


def _template_locked(subject: Subject, locked: bytes) -> Finding:
    flaws = (
        f"{tree.name}: {TEMPLATE}: not the locked template"
        for tree in subject.trees
        if (tree.root / TEMPLATE).read_bytes() != locked
    )
    return find(flaws, f"{len(locked)} bytes equal")


def _index_totals(subject: Subject) -> Finding:
    flaws, found = [], []
    for tree in subject.trees:
        index, total = tree.checkpoint.index, tree.checkpoint.data_bytes
        if index is not None and index.total_size != total:
            flaws.append(f"{tree.name}: total_size: expected {total}, got {index.total_size}")
        found.append(f"{tree.name}: {total} bytes" + ("" if index else ", one shard without an index"))
    return find(flaws, "; ".join(found))


def _no_code(subject: Subject) -> Finding:
    flaws = (f"{tree.name}: {flaw}" for tree in subject.trees for flaw in release_files.code_in(tree.root))
    return find(flaws, "none")


def _sorted(value: object) -> list[str]:
    return sorted(map(str, value)) if isinstance(value, list) else []


def _unequal(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
