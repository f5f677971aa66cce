"""The host step ``assemble``: one repo's release tree, ready to publish.

Model files and card are taken as they are; evidence goes to ``evidence/<input>/``;
``release.json`` says what the release is and ``SHA256SUMS`` what every file is. Only names
of an allow-list pass: nothing that loading runs, nothing hidden, nothing unexpected.

Params::

    {"kind": "nvfp4", "version": "1.0.0", "recipe": "tiny", "repo": "owner/name",
     "sibling_repo": "owner/other", "lock": "<digest>"}

The promised bytes are the digests of inputs ``tree`` and ``sibling``: both repos' model files.
"""

from collections.abc import Mapping
from pathlib import Path

from recipes.formats.step import Taken
from release import allowlist
from release.digest import File, Tree, sha256_bytes
from release.errors import ConfigError
from release.hoststep import HostStep, Inputs, Params, Result
from release.record import KINDS, RECORD_FILE, Record, Sibling, dump
from release.reponame import RepoName
from release.tables import Table

SUMS_FILE = "SHA256SUMS"
WHOLE = ("tree", "card")
"""Inputs whose every file is part of the release."""

EVIDENCE = {
    "prove": ("evidence.json", "ledger.json", "ledger.svg"),
    "gate": ("verdicts.json",),
    "sbom": ("sbom.cdx.json",),
    "report": ("report.html", "acceptance-positions.svg", "acceptance-domains.svg", "throughput.svg"),
    "smoke-nvfp4": ("evidence.json", "memory.jsonl", "replies.jsonl"),
    "smoke-master": ("evidence.json", "memory.jsonl", "replies.jsonl"),
}
ASKED = {
    "sanity-nvfp4": ("evidence.json", "memory.jsonl", "answers.jsonl"),
    "sanity-master": ("evidence.json", "memory.jsonl", "answers.jsonl"),
    "fidelity": ("evidence.json", "rows.jsonl", "worst.jsonl"),
}
"""Published where the recipe asked the served models, and where it has texts to compare them over."""

CALIBRATION = {"calibrate": ("calibration.json", "evidence.json")}
"""Published with the quantized repo: its weights follow from the master and this."""


def assemble(inputs: Inputs, params: Params) -> Result:
    """Put one repo's tree together (host step).

    Raises ConfigError for a file that no release holds, for one that two inputs bring, and
    for a missing file or param.
    """
    record = _record(inputs, params)
    taken = {**_whole(inputs), **_evidence(inputs, record.kind)}
    for path in taken:
        _refuse_unexpected(path)
    text = dump(record).encode()
    files = {path: inputs[source.input].tree.files[source.path] for path, source in taken.items()}
    files[RECORD_FILE] = File(sha256_bytes(text), len(text))
    return Result(new={RECORD_FILE: text, SUMS_FILE: Tree(files).sums().encode()}, taken=taken)


ASSEMBLE = HostStep(assemble, revision=4)


def _record(inputs: Inputs, params: Params) -> Record:
    table = Table(Path("params"), params)
    kind, version = table.take("kind", str), table.take("version", str)
    if kind not in KINDS:
        raise table.error("kind", " or ".join(KINDS), repr(kind))
    sibling = inputs["sibling"].tree.digest
    other = "master" if kind == "nvfp4" else "nvfp4"
    record = Record(
        recipe=table.take("recipe", str),
        version=version,
        kind=kind,
        repo=str(RepoName.parse(table.take("repo", str))),
        sibling=Sibling(
            repo=str(RepoName.parse(table.take("sibling_repo", str))), version=version, tree=sibling
        ),
        lock=table.take("lock", str),
        promised={kind: inputs["tree"].tree.digest, other: sibling},
        evidence={name: inputs[name].tree.digest for name in sorted(_found(inputs) | CALIBRATION)},
    )
    table.done()
    return record


def _whole(inputs: Inputs) -> dict[str, Taken]:
    taken: dict[str, Taken] = {}
    for name in WHOLE:
        for path in inputs[name].tree.files:
            if path in taken:
                raise ConfigError(f"{path}: expected from one input, got {taken[path].input} and {name}")
            if path in (RECORD_FILE, SUMS_FILE, *allowlist.ATTESTATION) or path.startswith("evidence/"):
                raise ConfigError(f"{name}/{path}: this path is written when the tree is put together")
            taken[path] = Taken(name, path)
    return taken


def _evidence(inputs: Inputs, kind: str) -> Mapping[str, Taken]:
    wanted = _found(inputs) | (CALIBRATION if kind == "nvfp4" else {})
    for name, paths in wanted.items():
        for path in paths:
            if path not in inputs[name].tree.files:
                raise ConfigError(f"{name}/{path}: expected evidence, got no such file")
    return {f"evidence/{name}/{path}": Taken(name, path) for name, paths in wanted.items() for path in paths}


def _found(inputs: Inputs) -> dict[str, tuple[str, ...]]:
    return EVIDENCE | {name: paths for name, paths in ASKED.items() if name in inputs}


def _refuse_unexpected(path: str) -> None:
    if not allowlist.allowed(path):
        raise ConfigError(
            f"{path}: no release holds such a file",
            why=allowlist.WHY,
            hint="keep it out of the step that brings it, or extend release/allowlist.py",
        )
