"""``invoke prove PATH``: prove any NVFP4 repo's claims from its bytes, also one we did not make.

Nothing is trusted and nothing is changed. What is given decides what can be proved: with
``--against BASE`` that draft head and vision tower are the base's, with ``--master MASTER``
that the body is what the master packs to. A claim whose counterpart was not given is "not
checked", which is no pass.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from recipes.formats import calibration
from recipes.formats.architecture import Architecture, parse_architecture
from recipes.formats.checkpoint import open_checkpoint
from recipes.formats.proofs import subject as subjects
from recipes.formats.proofs.claim import NotGiven, Outcome, Status
from recipes.formats.proofs.compare import Comparer
from recipes.formats.proofs.depth import Depth
from recipes.formats.proofs.ledger import Ledger, to_json
from recipes.formats.proofs.lineage import Lineage
from recipes.formats.proofs.proving import Proved, prove_all
from recipes.formats.proofs.subject import Subject, Told, Tree
from release.errors import ConfigError, ProofError, UsageError
from release.report.terminal import rows_table, size

T = TypeVar("T")

JSON_FORMAT = 1
_MARKS = {Status.HOLDS: "✓", Status.FAILS: "✗", Status.NOT_CHECKED: "-"}


def prove_path(
    path: str, against: str = "", master: str = "", *, as_json: bool = False, quick: bool = False
) -> None:
    """Prove the checkpoint in folder ``path`` and print what was found.

    Raises ProofError (exit code 6) when a claim does not hold or a file cannot be believed,
    UsageError for a folder that is not there, ConfigError for another kind of model.
    """
    depth = Depth.QUICK if quick else Depth.FULL
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    if as_json:
        proved = prove_all(read_subject(path, against, master, depth, lambda *_: None))
        print(json.dumps(_json(path, proved), indent=1, sort_keys=True))  # noqa: T201 - what --json asks for
    else:
        with _bar(console) as told:
            proved = prove_all(read_subject(path, against, master, depth, told))
        _print(console, path, proved)
    refuse_failed(path, proved)


def read_subject(path: str, against: str, master: str, depth: Depth, told: Told) -> Subject:
    """Open what was given. Raises UsageError, ConfigError or ProofError, each naming what is wrong."""
    folder = _folder(path, "PATH")
    tree = _read(folder, lambda at: subjects.read_tree(at, subjects.NVFP4))
    packed = subjects.is_quantized(tree)
    return Subject(
        architecture=_architecture(tree),
        body=subjects.read_body(tree) if packed else None,
        plain=None if packed else Tree(name=subjects.MASTER, checkpoint=tree.checkpoint, config=tree.config),
        base=_read(_folder(against, "--against"), open_checkpoint) if against else NotGiven("no --against"),
        master=_read(_folder(master, "--master"), open_checkpoint) if master else NotGiven("no --master"),
        calibration=_calibration(folder),
        template=NotGiven("no lock says which template"),
        recipe=NotGiven("no recipe says what was wanted"),
        is_release=False,
        comparer=Comparer(depth),
        told=told,
    )


def refuse_failed(path: str, proved: Proved) -> None:
    """Raise ProofError naming every claim that does not hold."""
    failed = proved.of(Status.FAILS)
    if failed:
        lines = "\n".join(f"  {outcome.name}: {outcome.found}" for outcome in failed)
        raise ProofError(
            f"{path}: {len(failed)} claims do not hold:\n{lines}",
            why="What its card says, or an engine would assume, is not what the bytes show.",
            hint="do not serve or publish it before each is explained",
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
    path = folder / calibration.CALIBRATION_FILE
    return _read(path, calibration.read) if path.exists() else NotGiven(f"no {path.name} in the folder")


def _json(path: str, proved: Proved) -> dict[str, object]:
    return {
        "format": JSON_FORMAT,
        "path": path,
        "proofs": [
            {"name": o.name, "status": str(o.status), "compared": o.compared, "found": o.found}
            for o in proved.outcomes
        ],
        "ledger": to_json(proved.ledgers),
        "facts": dict(proved.facts),
    }


def _print(console: Console, path: str, proved: Proved) -> None:
    for ledger in proved.ledgers:
        console.print(_headline(path, ledger, proved), "", markup=False)
        console.print(_ledger_table(ledger), "")
    if proved.lineage:
        console.print(_lineage_table(proved.lineage), "")
    console.print(_proofs_table(proved.outcomes), "")
    for line in _closing(proved):
        console.print(line, markup=False)


def _headline(path: str, ledger: Ledger, proved: Proved) -> str:
    totals = ledger.totals
    what = f"{proved.facts['quantized_linears']} Linears NVFP4" if ledger.name == subjects.NVFP4 else "BF16"
    return (
        f"{path}: {what}, {totals.tensors} tensors in {ledger.shards} shards, "
        f"{size(totals.bytes)}, {totals.parameters / 1e9:.3f} G parameters"
    )


def _ledger_table(ledger: Ledger) -> Table:
    lines = {**ledger.classes, "total": ledger.totals}
    rows = [
        (kind, str(line.tensors), f"{line.parameters:,}", f"{line.bytes:,}", _parts(line.parts))
        for kind, line in lines.items()
    ]
    implied = ledger.implied
    rows.append(("config implies", str(implied.tensors), f"{implied.parameters:,}", f"{implied.bytes:,}", ""))
    rows.append(("headers", "", "", f"{ledger.headers:,}", ""))
    rows.append(("other files", "", "", f"{ledger.other:,}", ""))
    return rows_table("ledger", ("class", "tensors", "parameters", "bytes", "what they are"), rows)


def _parts(parts: dict[str, int]) -> str:
    return ", ".join(f"{part.replace('_', ' ')} {size(count)}" for part, count in sorted(parts.items()))


def _lineage_table(lineage: Lineage) -> Table:
    rows = [
        (kind, *(str(number or "") for number in change.to_json().values()))
        for kind, change in lineage.classes.items()
    ]
    columns = ("class", "equal", "changed", "only in base", "only in master")
    return rows_table(f"lineage: {lineage.scope}, and of the master", columns, rows)


def _proofs_table(outcomes: tuple[Outcome, ...]) -> Table:
    rows = [
        (
            _MARKS[outcome.status],
            outcome.name,
            f"not checked ({outcome.found})" if outcome.status is Status.NOT_CHECKED else outcome.found,
        )
        for outcome in outcomes
    ]
    return rows_table("proofs", ("", "proof", "found"), rows)


def _closing(proved: Proved) -> Iterator[str]:
    lists = proved.facts.get("shortest_ignore_lists")
    for engine, patterns in (lists if isinstance(lists, dict) else {}).items():
        yield f"shortest ignore list for {engine}: {json.dumps(patterns)}"
    numbers = [f"{len(proved.of(status))} {status}" for status in Status]
    yield f"{len(proved.outcomes)} claims: {', '.join(numbers)}"


class _bar:  # noqa: N801 - a context manager, used as a function
    """Shows how far the proofs are, on a terminal alone."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("  {task.description}"), BarColumn(24), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("reading headers", total=None)

    def __enter__(self) -> Told:
        self._progress.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _tell(self, at: str, done: int, total: int, unit: str) -> None:
        what = at if unit == "claims" else f"{at}: {size(done)} of {size(total)}" if total else at
        self._progress.update(self._task, description=what, completed=done, total=total or None)
