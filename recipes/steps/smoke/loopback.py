"""HTTP to the server beside us: one request, one answer, nothing but loopback."""

import http.client
from collections.abc import Mapping

HOST = "127.0.0.1"


def get(port: int, path: str, timeout_s: float) -> tuple[int, str]:
    """Return status and text of ``path``. Raises OSError or HTTPException."""
    return _exchange(port, "GET", path, timeout_s)


def post(port: int, path: str, body: bytes, timeout_s: float) -> tuple[int, str]:
    """Send JSON ``body`` to ``path``; return status and text. Raises as ``get`` does."""
    return _exchange(port, "POST", path, timeout_s, body, {"Content-Type": "application/json"})


def _exchange(
    port: int,
    method: str,
    path: str,
    timeout_s: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()
