"""Identities: a CI job's, exchanged for a token of one repo."""

from tests.hub_server.publishers import GRANT, ID_TOKEN
from tests.hub_server.state import State
from tests.hub_server.wire import RefusedError, Request, Response, as_json, take


def token(state: State, request: Request) -> Response:
    """POST /oauth/token."""
    data = request.json()
    if (take(data, "grant_type", str), take(data, "subject_token_type", str)) != (GRANT, ID_TOKEN):
        raise RefusedError(400, "unsupported", body={"error": "unsupported_grant_type"})
    resource = take(data, "resource", str)
    state.history(resource)
    made = state.publishers.exchange(take(data, "subject_token", str), resource, request.base)
    return as_json(
        {"access_token": made, "token_type": "bearer", "expires_in": int(state.publishers.seconds)}
    )
