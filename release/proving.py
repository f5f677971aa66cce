"""``invoke prove PATH``: prove any NVFP4 repo's claims from its bytes, also one we did not make.

Nothing is trusted and nothing of the repo is changed. What is given decides what can be
proved: with ``--against BASE`` that draft head and vision tower are the base's, with
``--master MASTER`` that the body is what the master packs to. A claim whose counterpart was
not given is "not checked", which is no pass.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from recipes.formats import calibration
from recipes.formats.architecture import Architecture, parse_architecture
from recipes.formats.checkpoint import Checkpoint, open_checkpoint
from recipes.formats.proofs import subject as subjects
from recipes.formats.proofs.claim import NotGiven, Status
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.picture import draw
from recipes.formats.proofs.proving import Proved, prove_all
from recipes.formats.proofs.subject import Subject, Told, Tree
from recipes.steps.quantize.kernels.kernel import choose
from release.errors import ConfigError, MachineError, ProofError, UsageError
from release.report.proofs import bar, print_json, print_table, stdout

T = TypeVar("T")

# Beside the weights, as modelopt's recipes put it, and where a release of ours has it.
_CALIBRATIONS = (calibration.CALIBRATION_FILE, f"evidence/calibrate/{calibration.CALIBRATION_FILE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was typed. ``against`` and ``master`` are empty where not given."""

    path: str
    against: str = ""
    master: str = ""
    quick: bool = False

    @property
    def depth(self) -> Depth:
        """How much of each tensor is read."""
        return Depth.QUICK if self.quick else Depth.FULL


def prove_path(asked: Asked, pictures: Path, *, as_json: bool) -> None:
    """Prove the checkpoint in a folder, print what was found, and draw it below ``pictures``.

    Raises ProofError (exit code 6) when a claim does not hold or a file cannot be believed,
    UsageError for a folder that is not there, ConfigError for another kind of model.
    """
    console = stdout()
    with bar(console, shown=not as_json) as told:
        proved = prove_all(read_subject(asked, told))
    picture = _draw(asked.path, proved, pictures)
    if as_json:
        print_json(asked.path, proved, picture)
    else:
        print_table(console, asked.path, proved, picture)
    refuse_failed(asked.path, proved)


def read_subject(asked: Asked, told: Told) -> Subject:
    """Open what was given. Raises UsageError, ConfigError or ProofError, each naming what is wrong."""
    folder = _folder(asked.path, "PATH")
    tree = _read(folder, lambda at: subjects.read_tree(at, subjects.NVFP4))
    packed = _read(folder, lambda _: subjects.is_quantized(tree))
    return Subject(
        architecture=_architecture(tree),
        body=subjects.read_body(tree) if packed else None,
        plain=None if packed else Tree(name=subjects.MASTER, checkpoint=tree.checkpoint, config=tree.config),
        base=_counterpart(asked.against, "--against"),
        master=_counterpart(asked.master, "--master"),
        calibration=_calibration(folder),
        template=NotGiven("no lock says which template"),
        recipe=NotGiven("no recipe says what was wanted"),
        is_release=False,
        packer=choose(tree.checkpoint.data_bytes, gpu=False),
        comparer=Comparer(asked.depth),
        told=told,
    )


def refuse_failed(path: str, proved: Proved) -> None:
    """Raise ProofError naming every claim that does not hold."""
    failed = proved.of(Status.FAILS)
    if failed:
        lines = "\n".join(f"  {outcome.name}: {outcome.found.partition('; ')[0]}" for outcome in failed)
        verb = "claim does" if len(failed) == 1 else "claims do"
        raise ProofError(
            f"{path}: {len(failed)} {verb} not hold:\n{lines}",
            why="What its card says, or an engine would assume, is not what the bytes show.",
            hint="do not serve or publish it before each is explained; docs/proofs.md says what each means",
        )


def _folder(path: str, flag: str) -> Path:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"{flag}: {path}: no such folder",
            hint="give the folder of a downloaded repo, with its config.json and *.safetensors",
        )
    return folder.resolve()


def _read(folder: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(folder)
    except (ValueError, OSError) as error:
        raise ProofError(
            f"{folder}: {error}",
            why="Index, headers and files do not agree, so nothing that they say can be believed.",
            hint="download the repo again; if it stays so, it was published broken",
        ) from error


def _counterpart(path: str, flag: str) -> Checkpoint | NotGiven:
    return _read(_folder(path, flag), open_checkpoint) if path else NotGiven(f"no {flag}")


def _architecture(tree: Tree) -> Architecture:
    try:
        return parse_architecture(tree.config)
    except ValueError as error:
        raise ConfigError(
            f"{tree.root}: {error}",
            why="Claims are made of the names and shapes of this architecture.",
            hint="prove knows Qwen3.5 and Qwen3.6 checkpoints (model type qwen3_5)",
        ) from error


def _calibration(folder: Path) -> calibration.Calibration | NotGiven:
    for path in map(folder.joinpath, _CALIBRATIONS):
        if path.exists():
            return _read(path, calibration.read)
    return NotGiven(f"the repo holds no {calibration.CALIBRATION_FILE}")


def _draw(path: str, proved: Proved, pictures: Path) -> Path:
    """Write the ledger's picture, named after the repo's folder and the one above it."""
    parts = Path(path).expanduser().resolve().parts[-2:]
    name = re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-.") or "repo"
    file = pictures / f"{name}.svg"
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        file.write_text(draw(proved.ledgers), encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{file}: {error.strerror}", why="The picture of the bytes goes there.") from error
    return file
