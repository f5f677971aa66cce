"""Body + the 15 ``mtp.*`` tensors of the head's checkpoint → one tree.

The body's shards are taken as they are under new names; one shard is added with the
head's raw byte ranges; the index is written anew. No tensor is decoded, so what the
head's checkpoint holds is what the release holds. A body that already holds these very
bytes (a published master) is taken as it is.
"""

from pathlib import Path

from recipes.formats import progress, strict_json
from recipes.formats.checkpoint import (
    INDEX_FILE,
    Checkpoint,
    is_weight_file,
    open_checkpoint,
    shard_name,
    write_index,
)
from recipes.formats.qwen3_5 import MTP_PREFIX, MTP_TENSORS, parse_layout
from recipes.formats.safetensors import Entry, write
from recipes.formats.step import Exit, StepError, Workdir

CONFIG_FILE = "config.json"


def main(work: Workdir) -> None:
    """Graft the draft head of ``head`` onto ``body``."""
    body, head = _open(work, "body"), _open(work, "head")
    shapes = _expected(work)
    _check_head(head, shapes)
    if _has_head(body, head):
        work.take_all("body", sorted(body.headers) + _other_files(work.input("body"), weights=(INDEX_FILE,)))
        return
    weight_map = _take_body(work, body)
    shard = shard_name(len(body.headers) + 1, len(body.headers) + 1)
    entries = [Entry(name, "BF16", shapes[name], head.chunks(name)) for name in sorted(shapes)]
    progress.update("graft", 0, len(entries), "tensors")
    write(work.new(shard), entries)
    weight_map |= dict.fromkeys(shapes, shard)
    total = body.data_bytes + sum(head.locate(name).tensor.nbytes for name in shapes)
    write_index(work.new(INDEX_FILE), weight_map, total)
    work.take_all("body", _other_files(work.input("body")))
    progress.update("graft", len(entries), len(entries), "tensors")


def _open(work: Workdir, name: str) -> Checkpoint:
    try:
        return open_checkpoint(work.input(name))
    except ValueError as error:
        raise StepError(f"{name}: {error}. Build or fetch it again.", Exit.CONFIG) from error


def _expected(work: Workdir) -> dict[str, tuple[int, ...]]:
    try:
        layout = parse_layout(
            strict_json.read_table(work.input("body") / CONFIG_FILE), f"body: {CONFIG_FILE}"
        )
    except ValueError as error:
        raise StepError(str(error), Exit.CONFIG) from error
    return layout.mtp_shapes()


def _has_head(body: Checkpoint, head: Checkpoint) -> bool:
    """Tell whether the body holds the head already, byte for byte.

    Raises StepError for a draft head that is another one: it would be there twice.
    """
    present = [name for name in body.tensors if name.startswith(MTP_PREFIX)]
    wanted = [name for name in head.tensors if name.startswith(MTP_PREFIX)]
    if not present:
        return False
    for name in sorted({*present, *wanted}):
        if name not in present or name not in wanted or body.read(name) != head.read(name):
            raise StepError(f"body: {name}: the body has a draft head already, and it is not the head's")
    return True


def _check_head(head: Checkpoint, shapes: dict[str, tuple[int, ...]]) -> None:
    found = {name: place.tensor for name, place in head.tensors.items() if name.startswith(MTP_PREFIX)}
    if not found:
        raise StepError(f"head: no {MTP_PREFIX}* tensor; the draft head must come from the base checkpoint")
    for name in sorted(found.keys() ^ shapes.keys()):
        flaw = "no such tensor" if name in shapes else "a tensor that the config does not know"
        raise StepError(
            f"head: {name}: {flaw}; expected {len(shapes)} {MTP_PREFIX}* tensors "
            f"({MTP_TENSORS} with one layer), got {len(found)}"
        )
    for name, tensor in found.items():
        if tensor.dtype != "BF16" or tensor.shape != shapes[name]:
            got = f"{tensor.dtype} {list(tensor.shape)}"
            raise StepError(f"head: {name}: expected BF16 {list(shapes[name])}, got {got}")


def _take_body(work: Workdir, body: Checkpoint) -> dict[str, str]:
    """Take the body's shards under new names; return tensor → new shard name."""
    count = len(body.headers) + 1
    weight_map: dict[str, str] = {}
    for number, (file, header) in enumerate(sorted(body.headers.items()), 1):
        name = shard_name(number, count)
        work.take("body", file, name)
        weight_map |= dict.fromkeys(header.tensors, name)
    return weight_map


def _other_files(folder: Path, weights: tuple[str, ...] = ()) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(file for file in files if not is_weight_file(file) or file in weights)
