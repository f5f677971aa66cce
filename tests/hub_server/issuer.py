"""A CI provider's end of trusted publishing, as GitHub Actions offers it to a job.

The job asks ``ACTIONS_ID_TOKEN_REQUEST_URL`` with ``ACTIONS_ID_TOKEN_REQUEST_TOKEN`` and gets a signed
identity for the audience that it names.
"""

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SUBJECT = "repo:graftsmith/graftsmith:environment:release"


class Issuer:
    """Signs identities of one job for whoever knows ``request_token``."""

    def __init__(self) -> None:
        self._key = generate_private_key(public_exponent=65537, key_size=2048)
        self.request_token = f"eyJhbGciOiJub25lIn0.{secrets.token_hex(20)}.{secrets.token_hex(20)}"
        self.minted: list[str] = []
        self.url = ""

    def trust(self, root: Path, *repos: str, subject: str = SUBJECT) -> None:
        """Let the Hub at ``root`` trust this job for ``repos``, beside those that it trusts already."""
        file = root / "publishers.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        entry = {"issuer": self.url, "subject": subject, "key": pem.decode()}
        file.write_text(json.dumps(known | dict.fromkeys(repos, entry)))

    def environment(self) -> dict[str, str]:
        """Return what the job finds in its environment."""
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.request_token,
        }

    def mint(self, audience: str) -> str:
        """Return a signed identity for ``audience``."""
        now = int(time.time())
        claims = {"iss": self.url, "sub": SUBJECT, "aud": audience, "iat": now, "exp": now + 300}
        text = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256"}, claims))
        made = f"{text}.{_encoded(self._key.sign(text.encode(), PKCS1v15(), SHA256()))}"
        self.minted.append(made)
        return made


@contextmanager
def issuing() -> Iterator[Issuer]:
    """Answer on loopback while the block runs."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Bearer {issuer.request_token}"
            audience = parse_qs(urlsplit(self.path).query).get("audience", [""])[0]
            body = json.dumps({"value": issuer.mint(audience)} if known else {}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
