"""Sigstore bundles: signing and opening them, by OpenSSF's model-signing.

The only module that knows the library. It signs folders; we know the digest of every file, so its
inner parts are called, which is why the version is pinned to one minor. Both of our bundles come
from it, for a key and for an identity, and other tools read them: ``model_signing verify``, cosign.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from release.allowlist import SIGNATURE
from release.attesting.statement import PAYLOAD
from release.digest import sha256_bytes
from release.errors import ConfigError, MachineError, NetworkError, UsageError
from release.signer import MAKE, IdentitySigner, KeySigner, Signer

if TYPE_CHECKING:
    from model_signing._signing import signing
    from model_signing.manifest import Manifest

T = TypeVar("T")

Holder: TypeAlias = Path | None
"""Who signs: the holder of a private key in a file, or with None the identity of this workflow."""

OTHERS = 0o077

SERIALIZATION: Mapping[str, object] = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": True,  # what the Hub's client keeps in its cache are links
    "ignore_paths": [SIGNATURE, ".cache", ".git", ".gitattributes"],  # what hf download and the Hub add
}
"""How a verifier reads a downloaded folder."""


class SignatureError(ValueError):
    """A bundle that does not read, or that somebody else signed."""


def require_library() -> None:
    """Raise MachineError when model-signing is not installed."""
    try:
        import model_signing  # noqa: F401
    except ModuleNotFoundError as error:
        raise MachineError(
            f"signatures need the extra 'sign', which is not installed (no {error.name})",
            why="Only who signs, or checks who signed, pays for Sigstore's client.",
            hint="type: .venv/bin/uv sync --extra sign",
        ) from error


def public_digest(key: Path) -> str:
    """Return the sha256 of the PEM of a private key's public half. Raises ConfigError for no such key.

    Nothing of the private half is in what this returns or raises.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        if key.stat().st_mode & OTHERS:
            raise ConfigError(
                f"the signing key {key} can be read by others",
                why="Whoever has it can sign in your name.",
                hint=f"type: chmod 600 {key}",
            )
        found = load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"the signing key {key} cannot be read: {error.strerror}", hint=MAKE) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}: expected a private key in PEM without a passphrase", hint=MAKE) from error
    if not isinstance(found, EllipticCurvePrivateKey):
        raise ConfigError(f"{key}: expected a key of an elliptic curve", hint=MAKE)
    return sha256_bytes(found.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def sign_files(files: Mapping[str, str], name: str, holder: Holder) -> bytes:
    """Sign path → sha256 of all files of a repo; return the bundle, as model-signing writes it."""
    require_library()
    from model_signing._signing.signing import Payload

    return _sign(Payload(_manifest(files, name)), holder)


def sign_statement(statement: bytes, holder: Holder) -> bytes:
    """Sign an in-toto statement, given as JSON; return the bundle."""
    require_library()
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message
    from model_signing._signing.signing import Payload

    class Provenance(Payload):
        def __init__(self) -> None:  # a payload is anything with a statement
            self.statement = Statement.copy_from_pb(json_format.Parse(statement, Message()))

    return _sign(Provenance(), holder)


def open_files(bundle: bytes, signer: Signer) -> Mapping[str, str]:
    """Return path → sha256 of what ``signer`` signed. Raises SignatureError when it was somebody else."""

    def verify(verifier: "signing.Verifier", signature: "signing.Signature") -> dict[str, str]:
        manifest = verifier.verify(signature)
        return {entry.identifier: entry.digest.digest_hex for entry in manifest.resource_descriptors()}

    return _open(bundle, signer, verify)


def open_statement(bundle: bytes, signer: Signer) -> bytes:
    """Return the statement that ``signer`` signed, as JSON. Raises SignatureError."""

    def verify(verifier: "signing.Verifier", signature: "signing.Signature") -> bytes:
        kind, payload = verifier._verify_signed_content(signature)
        if kind != PAYLOAD:
            raise SignatureError(f"it signs {kind}, not {PAYLOAD}")
        return payload

    return _open(bundle, signer, verify)


def _manifest(files: Mapping[str, str], name: str) -> "Manifest":
    from model_signing._hashing.hashing import Digest
    from model_signing.manifest import Manifest, SerializationType

    kind = SerializationType.from_args(dict(SERIALIZATION))
    items = [kind.new_item(path, Digest("sha256", bytes.fromhex(sha))) for path, sha in sorted(files.items())]
    return Manifest(name, items, kind)


def _sign(payload: "signing.Payload", holder: Holder) -> bytes:
    signer = _key_signer(holder) if holder is not None else _identity_signer()
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / SIGNATURE
        with _sigstore_answers():
            signer.sign(payload).write(written)
        return written.read_bytes()


def _key_signer(key: Path) -> "signing.Signer":
    from model_signing._signing import sign_ec_key

    public_digest(key)  # refuses what is no key, or lies open
    try:
        return sign_ec_key.Signer(key)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}", hint=MAKE) from error


def _identity_signer() -> "signing.Signer":
    from model_signing._signing import sign_sigstore
    from sigstore import oidc

    try:
        token = oidc.detect_credential()
    except oidc.IdentityError as error:
        raise UsageError(f"this workflow got no identity to sign with: {error}", hint=NO_IDENTITY) from error
    if token is None:
        raise UsageError("nothing here vouches for an identity to sign with", hint=NO_IDENTITY)
    with _sigstore_answers():
        return sign_sigstore.Signer(identity_token=token)


NO_IDENTITY = (
    "sign with a key (--sign-key FILE, or GRAFTSMITH_SIGN_KEY), "
    "or in a workflow with the permission id-token: write"
)


def _open(bundle: bytes, signer: Signer, verify: "Callable[[signing.Verifier, signing.Signature], T]") -> T:
    require_library()
    from model_signing._signing import sign_ec_key, sign_sigstore, sign_sigstore_pb

    verifier: signing.Verifier
    match signer:
        case KeySigner():
            try:
                verifier = sign_ec_key.Verifier(signer.public_key)
            except ValueError as error:
                raise ConfigError(f"{signer.public_key}: {error}", hint=MAKE) from error
            read: type[signing.Signature] = sign_sigstore_pb.Signature
        case IdentitySigner():
            with _sigstore_answers():
                verifier = sign_sigstore.Verifier(identity=signer.identity, oidc_issuer=signer.issuer)
            read = sign_sigstore.Signature
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SIGNATURE
        path.write_bytes(bundle)
        try:
            return verify(verifier, read.read(path))
        except SignatureError:
            raise
        except Exception as error:  # a bundle is a stranger's: whatever it breaks, it is no signature
            said = str(error).strip() or type(error).__name__
            raise SignatureError(said.splitlines()[0][:200]) from error


@contextmanager
def _sigstore_answers() -> Iterator[None]:
    """Turn what Sigstore's services and their client raise into an error that says what to do."""
    from requests import RequestException
    from sigstore.errors import Error

    try:
        yield
    except (Error, RequestException) as error:
        raise NetworkError(
            f"Sigstore did not answer: {str(error).strip()[:200] or type(error).__name__}",
            why="An identity is vouched for, and looked up, by its services.",
            hint="the same command tries again; a key needs no network",
        ) from error
