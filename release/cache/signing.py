"""Signatures of cache entries: Ed25519, with the keys that ``ssh-keygen`` makes.

    ssh-keygen -t ed25519 -N '' -C builder -f cache-key      # cache-key, cache-key.pub

A digest shows that bytes are the ones that were promised; only a signature shows that it
was somebody trusted who promised them for this key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from release.digest import sha256_bytes
from release.errors import ConfigError

PREFIX = "ssh-ed25519 "
MAKE = "make a pair with: ssh-keygen -t ed25519 -N '' -C NAME -f FILE"
OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs what is pushed."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> Ed25519PublicKey:
        """The half that readers trust."""
        return self.private.public_key()

    @property
    def name(self) -> str:
        """The name under which the entries of this signer lie."""
        return name_of(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``, 64 bytes."""
        return self.private.sign(message)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose entries are believed: public keys by the signer's name."""

    keys: Mapping[str, Ed25519PublicKey]

    def verify(self, signer: str, signature: bytes, message: bytes) -> bool:
        """Tell whether ``signer``, whom we trust, signed ``message``."""
        try:
            self.keys[signer].verify(signature, message)
        except (KeyError, InvalidSignature):
            return False
        return True


def name_of(key: Ed25519PublicKey) -> str:
    """Return the name of a signer: 16 hex digits of the key's sha256.

    It finds an entry and proves nothing: entries are verified with the whole key.
    """
    return sha256_bytes(key.public_bytes_raw())[:16]


def load_signer(path: Path) -> Signer:
    """Read a private key. Raises ConfigError when it is none, or when others can read it."""
    try:
        if path.stat().st_mode & OTHERS:
            raise ConfigError(
                f"the cache key {path} can be read by others",
                why="Whoever has it can make every reader believe anything.",
                hint=f"type: chmod 600 {path}",
            )
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"the cache key {path} cannot be read: {error.strerror}", hint=MAKE) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: expected an OpenSSH Ed25519 private key without a passphrase", hint=MAKE
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: expected an Ed25519 key, got {type(key).__name__}", hint=MAKE)
    return Signer(key)


def load_trust(text: str) -> Trust:
    """Return the keys that ``text`` is, or that the file which it names holds, one a line.

    Raises ConfigError for a file that cannot be read or a line that is no key.
    """
    if text.startswith(PREFIX):
        return _parse(text, "--cache-trust")
    path = Path(text).expanduser()
    try:
        return _parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the trusted keys {path} cannot be read: {error}",
            hint="name the file cache-key.pub, or write the key itself: 'ssh-ed25519 …'",
        ) from error


def _parse(text: str, where: str) -> Trust:
    keys = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            key = _public(line.strip(), f"{where}, line {number}")
            keys[name_of(key)] = key
    return Trust(keys)


def _public(line: str, where: str) -> Ed25519PublicKey:
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where}: expected an OpenSSH public key: ssh-ed25519 AAAA…", hint=MAKE) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{where}: expected an Ed25519 key, got another kind", hint=MAKE)
    return key
