"""Trusted publishers: a CI job's identity, exchanged for a token of one repo (RFC 8693).

``publishers.json`` below the server's root names, for each repo, whom it trusts::

    {"owner/name": {"issuer": "http://…", "subject": "repo:owner/code:…", "key": "<public key, PEM>"}}

A token is signed by the server and says for itself what it is good for: none is kept.
"""

import base64
import hashlib
import hmac
import json
import time
from binascii import Error as Base64Error
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from release.digest import Json
from tests.hub_server.account import Account
from tests.hub_server.wire import RefusedError, parsed, take

PREFIX = "hf_jwt_"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 (the name of a kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishers:
    """Who may publish where without an account. ``seconds``: how long a token lasts."""

    file: Path
    secret: bytes
    seconds: float = 3600.0

    def exchange(self, identity: str, resource: str, audience: str) -> str:
        """Return a token for ``resource``. Raises RefusedError for an identity that it does not trust."""
        trusted = json.loads(self.file.read_text()) if self.file.exists() else {}
        wanted = trusted.get(resource)
        if wanted is None:
            raise _refused("no trusted publisher is configured for this repo")
        claims = _verified(identity, wanted["key"])
        named = {"iss": wanted["issuer"], "sub": wanted["subject"], "aud": audience}
        for claim, value in named.items():
            if claims.get(claim) != value:
                raise _refused(f"claim {claim}: expected {value!r}")
        said = {"repo": resource, "sub": wanted["subject"], "ends": time.time() + self.seconds}
        body = _encoded(json.dumps(said).encode())
        return f"{PREFIX}{body}.{self._sign(body)}"

    def account(self, token: str) -> Account:
        """Return what a token is good for. Raises RefusedError when it has ended or is none of ours."""
        body, _, signature = token.removeprefix(PREFIX).partition(".")
        if not hmac.compare_digest(signature, self._sign(body)):
            raise RefusedError(401, "Invalid credentials in Authorization header")
        said = json.loads(_decoded(body))
        if time.time() > said["ends"]:
            raise RefusedError(401, "This access token has expired")
        return Account(name=said["sub"], role="write", only=said["repo"])

    def _sign(self, body: str) -> str:
        return _encoded(hmac.new(self.secret, b"token:" + body.encode(), hashlib.sha256).digest())


def _verified(identity: str, pem: str) -> dict[str, Json]:
    """Return the claims of a signed identity (RS256). Raises RefusedError."""
    try:
        head, body, signature = identity.split(".")
        key = load_pem_public_key(pem.encode())
        assert isinstance(key, RSAPublicKey), "written by who runs this server"
        key.verify(_decoded(signature), f"{head}.{body}".encode(), PKCS1v15(), SHA256())
        claims = parsed(_decoded(body))
    except (ValueError, Base64Error, InvalidSignature) as error:
        raise _refused("the identity is not signed by the issuer") from error
    if take(claims, "exp", int) < time.time():
        raise _refused("the identity has expired")
    return claims


def _refused(why: str) -> RefusedError:
    return RefusedError(400, why, body={"error": "invalid_grant", "error_description": why})


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
