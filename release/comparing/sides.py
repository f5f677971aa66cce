"""One of the two repos that are compared: a folder here, or a repo of the Hub at a tag.

Of a Hub's repo only headers and small files are read, as ``invoke verify`` reads them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from recipes.formats import strict_json
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.evidence import Evidence
from recipes.formats.evidence import parse as parse_evidence
from recipes.formats.qwen3_5 import parse_layout
from recipes.formats.safetensors import Tensor
from release import record as records
from release.errors import ConfigError, UsageError
from release.record import RECORD_FILE
from release.reponame import RepoName
from release.verifying import mirror
from release.verifying.place import open_place, published_at

CONFIG_FILE = "config.json"
LENGTH = "acceptance_length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One repo. ``checkpoint`` is None for one of the Hub, whose weights are not here.

    ``acceptance`` is the acceptance length of its own tree, where its release measured one.
    """

    name: str
    tensors: Mapping[str, Tensor]
    config: Mapping[str, object]
    checkpoint: Checkpoint | None
    acceptance: float | None


def open_side(asked: str) -> Side:
    """Open a folder, or ``owner/name@tag`` of the Hub of HF_ENDPOINT.

    Raises UsageError where there is neither, ConfigError for files that are no such model.
    """
    folder = Path(asked).expanduser()
    if folder.is_dir():
        return _local(folder.resolve(), asked)
    name, at, tag = asked.partition("@")
    if not (at and tag):
        raise UsageError(
            f"{asked}: no such folder, and no repo with a tag",
            hint="give the folder of a downloaded repo, or a repo of the Hub as owner/name@v1.0.0",
        )
    return _remote(str(RepoName.parse(name)), tag)


def refuse_unlike(ours: Side, theirs: Side) -> None:
    """Refuse two models of different shapes. Raises ConfigError."""
    first, second = (_layout(side) for side in (ours, theirs))
    if first != second:
        raise ConfigError(
            f"{ours.name} and {theirs.name} are not of one architecture",
            why="Layers, widths or heads in their config.json differ, so no tensor has a counterpart.",
            hint="compare builds of the same model",
        )


def _layout(side: Side) -> tuple[object, ...]:
    try:
        layout = parse_layout(side.config)
    except ValueError as error:
        raise ConfigError(f"{side.name}: {error}", why="compare knows Qwen3.5 and Qwen3.6.") from error
    return layout.layers, layout.hidden, layout.intermediate, layout.heads, layout.kv_heads, layout.head_dim


def _local(folder: Path, name: str) -> Side:
    def small(path: str) -> bytes | None:
        file = folder / path
        return file.read_bytes() if file.is_file() else None

    try:
        checkpoint = open_checkpoint(folder)
        config = strict_json.read_table(folder / CONFIG_FILE)
        return Side(
            name=name,
            tensors={name: place.tensor for name, place in checkpoint.tensors.items()},
            config=config,
            checkpoint=checkpoint,
            acceptance=_acceptance(small),
        )
    except (ValueError, OSError) as error:
        raise ConfigError(f"{name}: {error}", hint="download the repo again") from error


def _remote(repo: str, tag: str) -> Side:
    with open_place(None) as place, TemporaryDirectory() as folder:
        published = published_at(place, repo, tag)
        try:
            mirror.lay_out(published, Path(folder))
            tensors = {name: at.tensor for name, at in open_checkpoint(Path(folder)).tensors.items()}
            config = strict_json.loads_table(published.read(CONFIG_FILE) or b"", CONFIG_FILE)
            acceptance = _acceptance(published.read)
        except ValueError as error:
            raise ConfigError(f"{repo}@{tag}: {error}") from error
    return Side(name=f"{repo}@{tag}", tensors=tensors, config=config, checkpoint=None, acceptance=acceptance)


def _acceptance(small: Callable[[str], bytes | None]) -> float | None:
    """Return what the release measured of its own tree; None for what is no release, or measured none."""
    record = small(RECORD_FILE)
    if record is None:
        return None
    kind = records.parse(record.decode()).kind
    text = small(f"evidence/smoke-{kind}/evidence.json")
    found = (parse_evidence(text.decode()) if text else Evidence()).figure(LENGTH)
    return found.value if found else None
