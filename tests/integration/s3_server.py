"""A real S3 server in a process of its own on loopback: moto's, on a port that is free.

It believes any signature, so tests look at and change what lies there with plain HTTP.
"""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BUCKET = "builds"
SECRET = "nobody-should-ever-read-this"  # noqa: S105 (what the tests look for)
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=tester/20261123/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)
COLOUR = r"(?:\x1b\[\d+m)*"
STARTED = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server with one empty bucket."""

    url: str
    log: Path

    @property
    def uri(self) -> str:
        """What ``--cache`` takes."""
        return f"s3://{BUCKET}/team"

    @property
    def environment(self) -> dict[str, str]:
        """What the S3 client reads."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def ask(self, method: str, name: str = "", data: bytes | None = None) -> bytes:
        """Ask for a name in the bucket."""
        url, headers = f"{self.url}/{BUCKET}/{name}", {"Authorization": SIGNED}
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 (loopback)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (loopback)
            body: bytes = answer.read()
        return body

    def names(self) -> list[str]:
        """Return what lies in the bucket."""
        return re.findall(r"<Key>([^<]+)</Key>", self.ask("GET", "?list-type=2").decode())

    def asked(self, method: str) -> list[str]:
        """Return the names that were asked for by a method, in order."""
        return re.findall(rf'"{COLOUR}{method} /{BUCKET}/(\S+) HTTP', self.log.read_text())


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run a server until the block ends; its log lies in ``folder``."""
    log = folder / "s3.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Server(url=_wait(process, log), log=log)
        server.ask("PUT")
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(300):
        if found := STARTED.search(log.read_text()):
            return found[1]
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    raise RuntimeError(f"the S3 server did not start: {log.read_text()}")
