"""Who signs the releases of a line, as its recipe says: a key, or an identity of a workflow.

    [signing]                                  [signing]
    public_key = "signing.pub"                 identity = "https://github.com/OWNER/REPO/.github/...@refs/tags/v{version}"
                                               issuer = "https://token.actions.githubusercontent.com"

The card names the signer, so it stands in the recipe and not in an option: a line that names none
publishes unsigned releases whose cards say so, a line that names one publishes no others.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from release.digest import Json, sha256_bytes
from release.errors import ConfigError
from release.tables import Table

BEGIN = b"-----BEGIN PUBLIC KEY-----"
MAKE = (
    "make a pair with: openssl ecparam -name prime256v1 -genkey -noout -out signing.key "
    "&& openssl ec -in signing.key -pubout -out signing.pub"
)


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Whoever holds the private half of ``public_key``, a PEM file of an elliptic curve."""

    public_key: Path

    @property
    def digest(self) -> str:
        """The hex sha256 of the file: what ``sha256sum`` prints, and the hint in a signature."""
        return sha256_bytes(self.public_key.read_bytes())

    def __str__(self) -> str:
        return f"the key {self.digest[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySigner:
    """Whom ``issuer`` calls ``identity``; no key is kept, Sigstore's log holds what was signed."""

    identity: str
    issuer: str

    def of(self, version: str) -> "IdentitySigner":
        """Return the identity for a version: a workflow's ends with the tag that it ran for."""
        return replace(self, identity=self.identity.replace("{version}", version))

    def __str__(self) -> str:
        return self.identity


Signer: TypeAlias = KeySigner | IdentitySigner


def parse(table: Table, folder: Path) -> Signer | None:
    """Parse ``[signing]`` of a recipe in ``folder``; None when it is empty. Raises ConfigError."""
    if not table.keys():
        return None
    found: Signer
    if "public_key" in table.keys():  # noqa: SIM118 - a Table is no dict
        found = read_key(folder / table.take("public_key", str), f"{table.file}: {table.at}.public_key")
    else:
        found = IdentitySigner(identity=table.take("identity", str), issuer=table.take("issuer", str))
    table.done()
    return found


def read_key(path: Path, where: str) -> KeySigner:
    """Return the signer that a public key names. Raises ConfigError when it does not read as PEM."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{where}: {path} cannot be read: {error.strerror}", hint=MAKE) from error
    if not data.startswith(BEGIN):
        raise ConfigError(f"{where}: {path}: expected a public key in PEM", hint=MAKE)
    return KeySigner(path)


def for_version(signer: Signer, version: str) -> Signer:
    """Return the signer of one version."""
    return signer.of(version) if isinstance(signer, IdentitySigner) else signer


def words(signer: Signer | None, version: str) -> dict[str, Json]:
    """Return what a card says of the signer; empty when there is none."""
    match signer:
        case None:
            return {}
        case KeySigner():
            return {"key": signer.digest}
        case IdentitySigner():
            return {"identity": signer.of(version).identity, "issuer": signer.issuer}
