"""The few endpoints of a Hub that reading a source needs, over plain HTTP.

It serves one model repo at one commit: model info, the file list, and files with ranges.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

REPO = "owner/name"
COMMIT = "6a9e13bd6fc8f0983b9b99948120bc37f49c13e9"


@dataclass
class Held:
    """What the server holds and what it was asked."""

    files: dict[str, bytes]
    lfs: frozenset[str]
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut_after: int | None = None
    ranges: bool = True


class Handler(BaseHTTPRequestHandler):
    """Answers for one ``Held``."""

    protocol_version = "HTTP/1.1"
    held: ClassVar[Held]

    def do_GET(self) -> None:
        """Answer one request."""
        path = unquote(urlsplit(self.path).path)
        self.held.asked.append((path, self.headers.get("Range", "")))
        if path in (f"/api/models/{REPO}/revision/{COMMIT}", f"/api/models/{REPO}/revision/main"):
            self._json({"id": REPO, "sha": COMMIT, "private": False, "siblings": []})
        elif path == f"/api/models/{REPO}/tree/{COMMIT}":
            self._json([_entry(name, data, self.held.lfs) for name, data in self.held.files.items()])
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            self._file(self.held.files[path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")])
        elif path.startswith(f"/api/models/{REPO}/revision/"):
            self._error(404, "RevisionNotFound")
        else:
            self._error(404, "RepoNotFound")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Print nothing."""

    def _file(self, data: bytes) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and self.held.ranges else 0
        body = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.held.cut_after is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: self.held.cut_after])
        self.close_connection = True

    def _json(self, data: object) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(held: Held) -> Iterator[str]:
    """Serve ``held`` on loopback while the block runs; yield the endpoint."""
    handler = type("Bound", (Handler,), {"held": held})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _entry(name: str, data: bytes, lfs: frozenset[str]) -> Mapping[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": blob}
    if name in lfs:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
