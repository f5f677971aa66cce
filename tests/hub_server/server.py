"""The HTTP end: routes, keep-alive, ranges, and faults."""

import re
import socket
import struct
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO, cast
from urllib.parse import parse_qs, unquote, urlsplit

from release.digest import Json
from tests.hub_server import api_git, api_lfs, api_oauth, api_pulls, api_repos, api_xet, download
from tests.hub_server.faults import Fault, How
from tests.hub_server.state import Asked, State
from tests.hub_server.wire import CHUNK, Body, RefusedError, Request, Response, as_json, tables

Handler = Callable[[State, Request], Response]

PART_SIZE = 64 << 20
"""Bytes of one part of a large blob."""

MODELS = r"/api/models/(?P<repo>[^/]+/[^/]+)"
LFS = r"/_lfs/(?P<repo>[^/]+/[^/]+)/(?P<sha256>[0-9a-f]{64})"


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests a handler answers."""

    method: str
    pattern: "re.Pattern[str]"
    handler: Handler


def _route(method: str, pattern: str, handler: Handler) -> Route:
    return Route(method, re.compile(pattern), handler)


ROUTES = (
    _route("GET", "/api/whoami-v2", api_repos.whoami),
    _route("POST", "/oauth/token", api_oauth.token),
    _route("POST", "/api/repos/create", api_repos.create),
    _route("DELETE", "/api/repos/delete", api_repos.delete),
    _route("POST", "/api/validate-yaml", api_repos.validate_card),
    _route("GET", MODELS, api_repos.info),
    _route("GET", MODELS + "/revision/(?P<revision>[^/]+)", api_repos.info),
    _route("GET", MODELS + "/auth-check", api_repos.may_read),
    _route("GET", MODELS + "/auth-check/write", api_repos.may_write),
    _route("PUT", MODELS + "/settings", api_repos.settings),
    _route("POST", MODELS + "/preupload/(?P<revision>[^/]+)", api_git.preupload),
    _route("POST", MODELS + "/commit/(?P<revision>[^/]+)", api_git.commit),
    _route("GET", MODELS + "/refs", api_git.refs),
    _route("POST", MODELS + "/tag/(?P<revision>[^/]+)", api_git.create_tag),
    _route("DELETE", MODELS + "/tag/(?P<revision>[^/]+)", api_git.delete_tag),
    _route("POST", MODELS + "/branch/(?P<revision>[^/]+)", api_git.create_branch),
    _route("DELETE", MODELS + "/branch/(?P<revision>[^/]+)", api_git.delete_branch),
    _route("GET", MODELS + "/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", api_git.tree),
    _route("POST", MODELS + "/paths-info/(?P<revision>[^/]+)", api_git.paths_info),
    _route("GET", MODELS + "/commits/(?P<revision>[^/]+)", api_git.log),
    _route("GET", MODELS + "/xet-write-token/(?P<revision>[^/]+)", api_xet.write_token),
    _route("GET", MODELS + "/xet-read-token/(?P<revision>[^/]+)", api_xet.read_token),
    _route("POST", MODELS + "/discussions", api_pulls.create),
    _route("GET", MODELS + "/discussions", api_pulls.listing),
    _route("GET", MODELS + r"/discussions/(?P<num>\d+)", api_pulls.details),
    _route("POST", MODELS + r"/discussions/(?P<num>\d+)/status", api_pulls.status),
    _route("POST", MODELS + r"/discussions/(?P<num>\d+)/merge", api_pulls.merge),
    _route("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", api_lfs.batch),
    _route("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/verify", api_lfs.verify),
    _route("PUT", LFS, api_lfs.put),
    _route("PUT", LFS + r"/parts/(?P<number>\d+)", api_lfs.put_part),
    _route("POST", LFS + "/complete", api_lfs.complete),
    _route("GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", download.resolve),
    _route("GET", r"/_blobs/(?P<repo>[^/]+/[^/]+)/(?P<sha256>[0-9a-f]{64})", download.blob),
)


class Server(ThreadingHTTPServer):
    """The Hub, listening; ``serve_forever`` answers on a thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, state: State, host: str, port: int) -> None:
        self.state = state
        super().__init__((host, port), _Connection)

    @property
    def url(self) -> str:
        """The address to use as HF_ENDPOINT."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"


def serve(state: State, host: str, port: int, say: Callable[[str], None]) -> None:
    """Listen until stopped; what is said first is the address."""
    server = Server(state, host, port)
    say(server.url)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: what was asked is kept and can be asked for."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        request = self._request()
        if request.path.startswith("/_hub/"):
            self._send(_control(self.server.state, request))
            return
        fault = self.server.state.faults.next(request.method, request.path)
        status = 0
        try:
            if fault is not None and fault.how is How.RESET:
                self._break()
                return
            if fault is not None and fault.how is How.STATUS:
                response = _refused(fault)
            else:
                response = _handled(self.server.state, request)
            request.body.drain()
            if fault is not None and self._spoiled(fault):
                return
            status = response.status
            self._send(response)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            said = Asked(
                method=request.method, path=request.path, status=status, received=request.body.received
            )
            self.server.state.asked.append(said)

    def _request(self) -> Request:
        url = urlsplit(self.path)
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        length = None if chunked else int(self.headers.get("Content-Length") or 0)
        return Request(
            method=self.command,
            path=url.path,
            query=parse_qs(url.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
            parts={},
            body=Body(cast(BinaryIO, self.rfile), length),
            base=f"http://{self.headers.get('Host', '')}",
        )

    def _spoiled(self, fault: Fault) -> bool:
        """Tell whether the answer is withheld, after the request was done."""
        if fault.how in (How.SLOW, How.LATE):
            time.sleep(fault.seconds)
        if fault.how in (How.LOST, How.LATE):
            self._break()
            return True
        return False

    def _break(self) -> None:
        """End the connection with a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if response.file is None:
            self.wfile.write(response.body)
            return
        with response.file.open("rb") as file:
            file.seek(response.span[0])
            left = response.length
            while left and (piece := file.read(min(left, CHUNK))):
                self.wfile.write(piece)
                left -= len(piece)


def _handled(state: State, request: Request) -> Response:
    try:
        method = "GET" if request.method == "HEAD" else request.method
        for route in ROUTES:
            if route.method == method and (found := route.pattern.fullmatch(request.path)):
                parts = {name: unquote(value) for name, value in found.groupdict(default="").items()}
                return route.handler(state, _with_parts(request, parts))
        raise RefusedError(404, f"Not found: {request.method} {request.path}")
    except RefusedError as refusal:
        return refusal.response
    except Exception:
        traceback.print_exc()
        return as_json({"error": "Internal Error"}, status=500)


def _with_parts(request: Request, parts: dict[str, str]) -> Request:
    return Request(
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        parts=parts,
        body=request.body,
        base=request.base,
    )


def _refused(fault: Fault) -> Response:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return as_json({"error": "told to fail"}, status=fault.status, headers=headers)


def _control(state: State, request: Request) -> Response:
    """Answer what only tests and rehearsals ask: set faults, read what was asked."""
    if request.path == "/_hub/faults":
        state.faults.replace([Fault.of(fault) for fault in tables(request.json(), "faults")])
        return as_json({})
    request.body.drain()
    if request.path == "/_hub/struck":
        return as_json(state.faults.struck)
    if request.path == "/_hub/resent":
        resent: list[Json] = list(state.resent)
        return as_json(resent)
    start = int(request.query.get("from", ["0"])[0])
    listed: list[Json] = [asked.to_json() for asked in state.asked[start:]]
    return as_json(listed)
