"""Claims about the files beside the weights: what both trees share, index, code, chat template."""

from collections.abc import Iterator, Mapping
from functools import partial

from recipes.formats import release_files, strict_json
from recipes.formats.checkpoint import INDEX_FILE
from recipes.formats.proofs.claim import Claim, Finding, find, given
from recipes.formats.proofs.subject import CONFIG, QUANTIZATION, Subject, Tree

TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = release_files.TEMPLATE_FILE
SAME_FILES = ("generation_config.json", "tokenizer.json", TOKENIZER_CONFIG, TEMPLATE)


def claims(subject: Subject) -> Iterator[Claim]:
    """Yield the claims about configs and other small files."""
    body, plain = subject.body, subject.plain
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
    elif file.is_file() and second != file.read_text(encoding="utf-8", errors="replace"):
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
    number = sum(path.is_file() for tree in subject.trees for path in tree.root.rglob("*"))
    return find(flaws, f"none of {number} files")


def _unequal(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
