"""Whether what is attested is the tree that it stands beside. Pure but for the signature's library.

Each function returns flaws in words, none when all is right. ``files`` is path → sha256 of every
file of the repo, attestation included.
"""

import base64
import json
from collections.abc import Iterator, Mapping

from release.allowlist import ATTESTATION, ENVELOPE, PROVENANCE, SIGNATURE
from release.attesting.bundles import SignatureError, open_files, open_statement
from release.attesting.statement import parse
from release.digest import Json
from release.record import Record
from release.signer import Signer


def provenance_flaws(statement: bytes, files: Mapping[str, str], record: Record) -> Iterator[str]:
    """Hold the subjects against the tree, and what it says of the release against the record."""
    try:
        found = parse(statement)
    except ValueError as error:
        yield f"{PROVENANCE}: {error}"
        return
    tree = {path: digest for path, digest in files.items() if path not in ATTESTATION}
    yield from differences(found.subjects, tree)
    said = {
        "recipe": record.recipe,
        "version": record.version,
        "kind": record.kind,
        "repo": record.repo,
        "sibling": record.sibling.repo,
    }
    if dict(found.release) != said:
        yield f"{PROVENANCE} is about {found.release.get('repo')} v{found.release.get('version')}"
    if found.lock != record.lock:
        yield f"{PROVENANCE} names lock {found.lock[:12]}, the record {record.lock[:12]}"


def envelope_flaws(envelope: bytes, statement: bytes, signer: Signer | None) -> Iterator[str]:
    """Hold the signed statement against ``provenance.json``; with a signer, also who signed it."""
    try:
        signed = open_statement(envelope, signer) if signer is not None else _payload(envelope)
        if json.loads(signed) != json.loads(statement):
            yield f"{ENVELOPE} signs another statement than {PROVENANCE}"
    except ValueError as error:
        yield f"{ENVELOPE}: {error}"


def signature_flaws(signature: bytes, files: Mapping[str, str], signer: Signer | None) -> Iterator[str]:
    """Hold the signed digests against the tree; with a signer, also who signed them."""
    try:
        signed = open_files(signature, signer) if signer is not None else _unchecked(signature)
    except ValueError as error:
        yield f"{SIGNATURE}: {error}"
        return
    yield from differences(signed, {path: digest for path, digest in files.items() if path != SIGNATURE})


def differences(said: Mapping[str, str], there: Mapping[str, str]) -> Iterator[str]:
    """Name each path whose digest is another one, or that is on one side alone."""
    for path in sorted({*said, *there}):
        if path not in there:
            yield f"{path} is not there"
        elif path not in said:
            yield f"{path} is not named"
        elif said[path] != there[path]:
            yield f"{path} has other bytes"


def signer_named(signature: bytes) -> str:
    """Return who a signature says has signed. Nothing of that is checked."""
    try:
        bundle: Json = json.loads(signature)
    except ValueError:
        return "nobody who can be named"
    match bundle:
        case {"verificationMaterial": {"publicKey": {"hint": str(hint)}}}:
            return f"the key {hint[:16]}"
        case {"verificationMaterial": {"certificate": _}}:
            return "an identity that Sigstore vouched for"
    return "nobody who can be named"


def _unchecked(signature: bytes) -> Mapping[str, str]:
    match json.loads(_payload(signature)):
        case {"predicate": {"resources": [*resources]}}:
            return {str(entry["name"]): str(entry["digest"]) for entry in resources}
    raise SignatureError("it signs no files")


def _payload(bundle: bytes) -> bytes:
    match json.loads(bundle):
        case {"dsseEnvelope": {"payload": str(payload)}}:
            return base64.b64decode(payload)
    raise SignatureError("it is no Sigstore bundle")
