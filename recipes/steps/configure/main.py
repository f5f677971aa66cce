"""Grafted tree → release tree: weights as they are, every other file decided here.

Whatever the tree or the master carries beyond the files listed here stays behind, and
code is refused: a release loads without ``trust_remote_code``.
"""

from pathlib import Path

from recipes.formats import release_files, strict_json
from recipes.formats.checkpoint import is_weight_file
from recipes.formats.step import Exit, StepError, Workdir
from recipes.steps.configure import configs
from recipes.steps.configure.ignore_list import derive_ignore, render_ignore

FROM_MASTER = (
    "added_tokens.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "video_preprocessor_config.json",
    "vocab.json",
)


def main(work: Workdir) -> None:
    """Configure the grafted tree as a release."""
    for name in ("tree", "master"):
        _refuse_code(work.input(name), name)
    try:
        _configure(work)
    except ValueError as error:
        raise StepError(f"configure: {error}", Exit.CONFIG) from error


def _configure(work: Workdir) -> None:
    quantized = bool(work.param("quantized", bool))
    tree, master = (_read(work, name, "config.json") for name in ("tree", "master"))
    if quantized:
        ignore = render_ignore(work.input("templates"), derive_ignore(work.input("tree")))
        _write(work, "config.json", configs.quantized_config(master, tree, ignore))
        _write(
            work,
            "hf_quant_config.json",
            configs.quant_config(_read(work, "tree", "hf_quant_config.json"), ignore),
        )
    else:
        _write(work, "config.json", configs.plain_config(master, tree))
    _generation(work)
    _tokenizer(work)
    files = sorted(path.name for path in work.input("tree").iterdir())
    work.take_all("tree", (file for file in files if is_weight_file(file)))


def _generation(work: Workdir) -> None:
    sampling = strict_json.table(work.params, "sampling", "params.json")
    master = _read(work, "master", "generation_config.json")
    _write(work, "generation_config.json", configs.generation_config(master, sampling))


def _tokenizer(work: Workdir) -> None:
    table = _read(work, "master", "tokenizer_config.json")
    # Two templates in one release would let two engines speak two formats.
    if table.pop("chat_template", None) is None:
        work.take("master", "tokenizer_config.json")
    else:
        _write(work, "tokenizer_config.json", table)
    present = {path.name for path in work.input("master").iterdir()}
    if "tokenizer.json" not in present:
        raise ValueError("master: tokenizer.json: expected this file, got none")
    work.take_all("master", (file for file in FROM_MASTER if file in present))
    work.take("chat_template", release_files.TEMPLATE_FILE)


def _refuse_code(folder: Path, name: str) -> None:
    for flaw in release_files.code_in(folder):
        raise StepError(f"{name}: {flaw}; a release carries no code. Lock another revision.", Exit.CONFIG)


def _read(work: Workdir, name: str, file: str) -> dict[str, object]:
    try:
        return strict_json.read_table(work.input(name) / file)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _write(work: Workdir, file: str, table: dict[str, object]) -> None:
    work.new(file).write_text(strict_json.dumps(table), encoding="utf-8")
