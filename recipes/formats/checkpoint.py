"""A checkpoint: a folder of safetensors shards and the index that maps tensors to them.

    checkpoint = open_checkpoint(folder)
    for name, location in checkpoint.tensors.items():
        print(name, location.file, location.tensor.shape)

A single shard, whatever its name, is a checkpoint too and needs no index. Only headers
are read until a tensor is asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats import strict_json
from recipes.formats.regular import read_regular
from recipes.formats.safetensors import Header, Tensor, iter_tensor, read_header, read_part, read_tensor

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
SUFFIX = ".safetensors"


class CheckpointError(ValueError):
    """Index and shards of a checkpoint that do not agree; names the file."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a tensor lies: the shard's file name and the tensor's entry in its header."""

    file: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Index:
    """A parsed index. ``total_size`` is the bytes of all tensors, None when not stated."""

    weight_map: Mapping[str, str]
    total_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose index and headers agree. ``tensors`` is sorted by name."""

    root: Path
    headers: Mapping[str, Header]
    tensors: Mapping[str, Location]
    index: Index | None

    @property
    def data_bytes(self) -> int:
        """The bytes of all tensors, without headers."""
        return sum(header.data_bytes for header in self.headers.values())

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the raw bytes of tensor ``name`` in pieces. Raises CheckpointError when absent."""
        file = self.locate(name).file
        return iter_tensor(self.root / file, self.headers[file], name)

    def read(self, name: str) -> bytes:
        """Return the raw bytes of tensor ``name``. Raises CheckpointError when absent."""
        file = self.locate(name).file
        return read_tensor(self.root / file, self.headers[file], name)

    def part(self, name: str, begin: int, end: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of tensor ``name``. Raises CheckpointError when absent."""
        file = self.locate(name).file
        return read_part(self.root / file, self.headers[file], name, begin, end)

    def locate(self, name: str) -> Location:
        """Return where tensor ``name`` lies. Raises CheckpointError when absent."""
        try:
            return self.tensors[name]
        except KeyError:
            raise CheckpointError(f"{name}: no such tensor in the checkpoint") from None


def open_checkpoint(root: Path) -> Checkpoint:
    """Open the checkpoint in folder ``root``: parse the index and every shard's header.

    Raises CheckpointError or SafetensorsError (both ValueError), which name the file,
    when a shard is missing, unlisted or hostile, or when the index and a header do not
    name the same tensors.
    """
    index = _read_index(root)
    files = _single_file(root) if index is None else set(index.weight_map.values())
    _check_files(root, files)
    headers = {file: read_header(root / file) for file in sorted(files)}
    found = {
        name: Location(file, tensor)
        for file, header in headers.items()
        for name, tensor in header.tensors.items()
    }
    _check_map(headers, index)
    return Checkpoint(root=root, headers=headers, tensors=dict(sorted(found.items())), index=index)


def parse_index(text: str | bytes) -> Index:
    """Parse the text of an index file.

    Raises CheckpointError for duplicate keys, a table of another form, or a shard that
    is not a plain file name.
    """
    try:
        table = strict_json.loads_table(text, INDEX_FILE)
        weight_map = strict_json.table(table, "weight_map", INDEX_FILE)
        metadata = table.get("metadata", {})
        total = metadata.get("total_size") if isinstance(metadata, dict) else None
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    shards = {name: _shard_name(name, file) for name, file in weight_map.items()}
    return Index(shards, _whole(total))


def write_index(path: Path, weight_map: Mapping[str, str], total_size: int) -> None:
    """Write an index to ``path``: tensor → shard, and the bytes of all tensors."""
    data = {"metadata": {"total_size": total_size}, "weight_map": dict(weight_map)}
    path.write_text(strict_json.dumps(data), encoding="utf-8")


def shard_name(number: int, count: int) -> str:
    """Return the field's name for shard ``number`` (from 1) of ``count``."""
    return f"model-{number:05d}-of-{count:05d}{SUFFIX}"


def is_weight_file(name: str) -> bool:
    """Whether a file of this name holds weights or their index."""
    return name.endswith(SUFFIX) or name == INDEX_FILE


def _read_index(root: Path) -> Index | None:
    path = root / INDEX_FILE
    if not path.exists():
        return None
    try:
        return parse_index(read_regular(path, strict_json.MAX_BYTES))
    except OSError as error:
        raise CheckpointError(f"{INDEX_FILE}: expected a readable file, got {error.strerror}") from error


def _single_file(root: Path) -> set[str]:
    """Return the one shard of a checkpoint without an index, which may have any name."""
    found = {path.name for path in root.glob(f"*{SUFFIX}")}
    if len(found) > 1:
        raise CheckpointError(
            f"{INDEX_FILE}: expected an index of the folder's {len(found)} shards, got none"
        )
    return found or {SINGLE_FILE}


def _whole(total: object) -> int | None:
    """Return ``total`` as a whole number; some exporters write it as a float."""
    if isinstance(total, float) and total.is_integer():
        return int(total)
    return total if type(total) is int else None


def _shard_name(tensor: str, file: object) -> str:
    plain = (
        isinstance(file, str)
        and file.endswith(SUFFIX)
        and not file.startswith(".")
        and file.isprintable()
        and "/" not in file
        and "\\" not in file
    )
    if not plain:
        raise CheckpointError(f"{INDEX_FILE}: {tensor}: expected the name of a shard, got {file!r}")
    return str(file)


def _check_files(root: Path, files: set[str]) -> None:
    present = {path.name for path in root.glob(f"*{SUFFIX}")}
    for file in sorted(files - present):
        raise CheckpointError(f"{file}: expected this shard in the folder, got none")
    for file in sorted(present - files):
        raise CheckpointError(f"{file}: expected only shards of {INDEX_FILE}, got one it does not list")


def _check_map(headers: Mapping[str, Header], index: Index | None) -> None:
    homes: dict[str, str] = {}
    for file, header in headers.items():
        for name in header.tensors:
            if name in homes:
                raise CheckpointError(f"{file}: {name} lies in {homes[name]} as well")
            homes[name] = file
    if index is None or homes == dict(index.weight_map):
        return
    for name in sorted(homes.keys() | index.weight_map.keys()):
        listed, home = index.weight_map.get(name), homes.get(name)
        if listed != home:
            raise CheckpointError(f"{INDEX_FILE}: {name}: expected in {listed}, got it in {home}")
