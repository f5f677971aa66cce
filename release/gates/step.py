"""The host step ``gate``: evidence of every measuring step → verdicts.json."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from recipes.formats.evidence import EVIDENCE_FILE, Evidence
from recipes.formats.evidence import parse as parse_evidence
from recipes.formats.sanity import ANSWERS_FILE
from release import fidelity, paired
from release.bootstrap import REPLIES_FILE, Drafts, read_drafts
from release.errors import ConfigError
from release.fidelity import FIDELITY
from release.gates.judging import Found, judge_all
from release.gates.wanted import Figure, parse_gates
from release.hoststep import HostStep, Inputs, Params, Result
from release.verdicts import VERDICTS_FILE, dump


def gate(inputs: Inputs, params: Params) -> Result:
    """Judge the recipe's gates (host step). Writes verdicts.json; never raises for a failed gate."""
    evidence = {name: _read(name, given.folder) for name, given in inputs.items()}
    gates = parse_gates(params.get("gates", []), tuple(sorted(inputs)))
    drafted = _inputs((gate.figure, gate.relative_to) for gate in gates if gate.margin is not None)
    answered = _inputs((gate.figure, gate.paired_with) for gate in gates if gate.paired_with)
    found = Found(
        evidence=evidence,
        drafts={name: _read_drafts(name, inputs[name].folder) for name in drafted if name != FIDELITY},
        answers={name: _read_answers(name, inputs[name].folder) for name in answered},
        rows=_read_rows(inputs[FIDELITY].folder) if FIDELITY in inputs else (),
    )
    return Result(new={VERDICTS_FILE: dump(judge_all(gates, found)).encode()})


GATE = HostStep(gate, revision=3)


def _inputs(figures: Iterable[tuple[Figure, Figure | None]]) -> list[str]:
    return sorted({figure.input for pair in figures for figure in pair if figure})


def _read_answers(name: str, folder: Path) -> Mapping[str, paired.Answers]:
    try:
        return paired.read_answers(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}/{ANSWERS_FILE}: expected answers, got: {error}") from error


def _read_drafts(name: str, folder: Path) -> Mapping[str, Drafts]:
    try:
        return read_drafts(folder)
    except FileNotFoundError as error:
        raise ConfigError(f"{name}/{REPLIES_FILE}: expected replies, got no such file") from error
    except ValueError as error:
        raise ConfigError(f"{name}/{error}") from error


def _read_rows(folder: Path) -> tuple[fidelity.Row, ...]:
    try:
        return fidelity.read_rows(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{FIDELITY}/{fidelity.ROWS_FILE}: {error}") from error


def _read(name: str, folder: Path) -> Evidence:
    try:
        return parse_evidence((folder / EVIDENCE_FILE).read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{name}/{EVIDENCE_FILE}: expected evidence, got no such file") from error
    except ValueError as error:
        raise ConfigError(f"{name}/{error}") from error
