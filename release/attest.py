"""Attesting: what is said of both trees of a version once they are fixed.

    describe    provenance.json of each tree                    always; by the machine that built
    sign        model.sig and provenance.sigstore.json          by a key, or a workflow's identity
    attach      the tree with these files beside it, for publishing

Signing takes the sums and no weights, so ``invoke attest`` runs on a hosted runner between
``prepare`` and ``publish`` (.github/workflows/release.yml). The signature covers every file of the
repo but itself, the signed provenance too.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.step import TREE_FILE, TREE_FORMAT
from release import publishing
from release import recipe as recipes
from release import record as records
from release.allowlist import ATTESTATION, ENVELOPE, PROVENANCE, SIGNATURE
from release.assemble import SUMS_FILE
from release.attesting import agree, bundles
from release.digest import parse_sums, sha256_bytes
from release.errors import ConfigError, ProofError, PublishError, UsageError
from release.hub.transaction import RepoTree
from release.line import PROJECT
from release.preparing import ASSEMBLED, Prepared, describe
from release.recipe import Recipe
from release.record import RECORD_FILE, Record
from release.report.terminal import Terminal
from release.signer import IdentitySigner, Signer, for_version
from release.store import durable

KEY = "GRAFTSMITH_SIGN_KEY"
"""The environment variable that names the file of the signing key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was typed: the file of a key, or the folder that ``invoke attest`` wrote; empty when not."""

    key: str = ""
    attested: str = ""

    def holder(self, signer: Signer) -> bundles.Holder:
        """Return who signs here for ``signer``. Raises UsageError or ConfigError when nobody can."""
        if isinstance(signer, IdentitySigner):
            return None
        if not (named := self.key or os.environ.get(KEY, "")):
            raise UsageError(
                f"this line's releases are signed by {signer}, and no key was given",
                hint=f"add --sign-key FILE, or set {KEY} to the file's name",
            )
        key = Path(named).expanduser()
        if bundles.public_digest(key) != signer.digest:
            raise ConfigError(
                f"{key} is not the private half of {signer.public_key}",
                why="The recipe and the cards name the key by which readers check.",
                hint="give the right key, or change public_key in the recipe",
            )
        return key


def require_able(wanted: Recipe, asked: Asked) -> None:
    """Refuse, before anything is built, a release whose card and signature would not agree."""
    if wanted.signing is None:
        if asked.key:
            raise UsageError(
                f"the recipe {wanted.name} names no signer, so its cards say 'not signed'",
                hint='add to recipe.toml: [signing] public_key = "signing.pub"',
            )
        return
    bundles.require_library()
    if asked.attested:
        return
    if isinstance(wanted.signing, IdentitySigner):
        raise UsageError(
            f"this line's releases are signed by {wanted.signing}",
            hint="run invoke prepare, invoke attest and invoke release --attested DIR, as release.yml does",
        )
    asked.holder(wanted.signing)


def attested(prepared: Prepared, asked: Asked) -> tuple[RepoTree, RepoTree]:
    """Return both trees as they are published: with provenance, and signed where the recipe says so.

    Raises PublishError for an attestation of another tree or by another signer.
    """
    master, nvfp4 = (_attested(prepared, step, asked) for step in ASSEMBLED)
    return master, nvfp4


def sign_prepared(name: str, folder: Path, key: str, terminal: Terminal) -> None:
    """Sign what ``invoke prepare --out`` handed on (``invoke attest``); no weights are needed.

    Raises ProofError when provenance and sums do not agree.
    """
    wanted = recipes.load(recipes.find(PROJECT, name))
    asked = Asked(key=key)
    for step in ASSEMBLED:
        record, digests, statement = _read_prepared(folder / step, wanted)
        if wanted.signing is None:
            terminal.say(f"{record.repo} v{record.version}: not signed; the recipe {name} names no signer")
            continue
        for path, data in _sign(digests, statement, record, wanted.signing, asked).items():
            durable.write(folder / step / path, data)
        terminal.say(f"{record.repo} v{record.version}: {len(digests)} files signed by {wanted.signing}")


def _read_prepared(folder: Path, wanted: Recipe) -> tuple[Record, dict[str, str], bytes]:
    """Return the record, the digest of every file of the tree, and the statement about it."""
    try:
        sums, statement = (folder / SUMS_FILE).read_bytes(), (folder / PROVENANCE).read_bytes()
        record = records.parse((folder / RECORD_FILE).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{folder} is not what invoke prepare hands on: {error}",
            hint=f"write it with: invoke prepare --version X --recipe {wanted.name} --out {folder.parent}",
        ) from error
    digests = {**parse_sums(sums.decode()), SUMS_FILE: sha256_bytes(sums)}
    flaws = list(agree.provenance_flaws(statement, digests, record))
    if digests.get(RECORD_FILE) != sha256_bytes((folder / RECORD_FILE).read_bytes()):
        flaws.append(f"{RECORD_FILE} has other bytes")
    if record.recipe != wanted.name:
        flaws.append(f"it is of recipe {record.recipe}, not {wanted.name}")
    if flaws:
        raise ProofError(
            f"{folder}: provenance and sums do not agree: {'; '.join(flaws[:5])}",
            why="What is signed is believed by everybody who knows the signer.",
            hint="prepare the version again",
        )
    return record, digests, statement


def _sign(
    tree: Mapping[str, str], statement: bytes, record: Record, signer: Signer, asked: Asked
) -> dict[str, bytes]:
    """Return the signed provenance and the signature over everything, checked as a reader would."""
    expected = for_version(signer, record.version)
    holder = asked.holder(signer)
    envelope = bundles.sign_statement(statement, holder)
    digests = {**tree, PROVENANCE: sha256_bytes(statement), ENVELOPE: sha256_bytes(envelope)}
    signature = bundles.sign_files(digests, f"{record.repo}@v{record.version}", holder)
    made = {ENVELOPE: envelope, SIGNATURE: signature}
    _require(made, statement, digests, expected, record.repo)
    return made


def _attested(prepared: Prepared, step: str, asked: Asked) -> RepoTree:
    line, done = prepared.line, prepared.done[step]
    root = line.store.folder(done.tree, step)
    record = records.parse((root / RECORD_FILE).read_text())
    tree = line.store.tree(done.tree)
    assert tree is not None, "realized a moment ago"
    digests = {path: file.sha256 for path, file in tree.files.items()}
    signer = line.recipe.signing
    if asked.attested:
        files = _handed_back(Path(asked.attested) / step, digests, record, signer)
    else:
        statement = describe(prepared, step)
        files = {PROVENANCE: statement}
        if signer is not None:
            files |= _sign(digests, statement, record, signer, asked)
    return _attach(prepared, step, record.repo, files)


def _handed_back(
    folder: Path, digests: Mapping[str, str], record: Record, signer: Signer | None
) -> dict[str, bytes]:
    """Read what ``invoke attest`` wrote for a tree, and believe none of it unchecked."""
    files = {path: (folder / path).read_bytes() for path in ATTESTATION if (folder / path).is_file()}
    statement = files.get(PROVENANCE)
    if statement is None:
        raise UsageError(f"{folder} holds no {PROVENANCE}", hint="name the folder that invoke attest wrote")
    flaws = list(agree.provenance_flaws(statement, digests, record))
    if flaws:
        raise _refused(record.repo, flaws)
    if signer is None and len(files) > 1:
        raise _refused(record.repo, ["it is signed, and the recipe names no signer"])
    if signer is not None:
        beside = {path: sha256_bytes(data) for path, data in files.items() if path != SIGNATURE}
        _require(files, statement, {**digests, **beside}, for_version(signer, record.version), record.repo)
    return files


def _require(
    files: Mapping[str, bytes], statement: bytes, digests: Mapping[str, str], signer: Signer, repo: str
) -> None:
    if lacking := [path for path in (ENVELOPE, SIGNATURE) if path not in files]:
        raise _refused(repo, [f"there is no {' and no '.join(lacking)}"])
    flaws = [
        *agree.envelope_flaws(files[ENVELOPE], statement, signer),
        *agree.signature_flaws(files[SIGNATURE], digests, signer),
    ]
    if flaws:
        raise _refused(repo, flaws)


def _attach(prepared: Prepared, step: str, repo: str, files: Mapping[str, bytes]) -> RepoTree:
    """Return the assembled tree with ``files`` beside it, whole in the store."""
    store, assembled = prepared.line.store, prepared.done[step].tree
    tree = store.tree(assembled)
    assert tree is not None, "realized a moment ago"
    name = f"attest-{assembled}"
    with store.lock(name):
        out = store.scratch(name) / "out"
        durable.remove(out.parent)
        out.mkdir(parents=True)
        listed: dict[str, object] = {path: {"input": "tree", "path": path} for path in tree.files}
        for path, data in files.items():
            (out / path).write_bytes(data)
            listed[path] = None
        (out / TREE_FILE).write_text(json.dumps({"format": TREE_FORMAT, "files": listed}))
        digest = store.commit(out, {"tree": assembled})
        durable.remove(out.parent)
    whole = store.use_tree(digest)
    assert whole is not None, "committed a moment ago"
    root = store.folder(digest, step.replace("assemble", "attested"))
    return RepoTree(repo=repo, root=root, tree=whole, locked=publishing.locked_files(prepared.line))


def _refused(repo: str, flaws: list[str]) -> PublishError:
    return PublishError(
        f"{repo}: the attestation is not of this tree: {'; '.join(flaws[:5])}",
        why="Readers would refuse it; nothing was published.",
        hint="attest what invoke prepare hands on, and publish that",
    )
