"""Xet: where a client sends chunks to and gets them from. The folder is the client's own (``xet.py``)."""

import time

from tests.hub_server.state import State
from tests.hub_server.wire import RefusedError, Request, Response, as_json

LASTS = 3600


def write_token(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/xet-write-token/{revision}."""
    state.writable(request)
    return _token(state)


def read_token(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/xet-read-token/{revision}."""
    state.readable(request)
    return _token(state)


def _token(state: State) -> Response:
    if state.xet is None:
        raise RefusedError(404, "this Hub has no Xet")
    ends = int(time.time()) + LASTS
    said = {
        "X-Xet-Cas-Url": state.xet.url,
        "X-Xet-Access-Token": "local",
        "X-Xet-Token-Expiration": str(ends),
    }
    return as_json({"casUrl": state.xet.url, "accessToken": "local", "exp": ends}, headers=said)
