"""Pull requests: open, look, close, merge. Their commits lie at ``refs/pr/<num>``."""

from release.digest import Json
from tests.hub_server.api_git import MAIN
from tests.hub_server.state import PullRequest, State
from tests.hub_server.wire import RefusedError, Request, Response, as_json, take

OPENED = "2020-01-01T00:00:00.000Z"
"""The date that every pull request shows: nothing here depends on it."""


def create(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/discussions."""
    history, account = state.writable(request)
    data = request.json()
    with state.lock:
        settings = state.settings(request.repo)
        num = len(settings.pull_requests) + 1
        history.point(f"refs/pr/{num}", history.resolve("main"))
        made = PullRequest(num=num, title=take(data, "title", str), author=account.name, status="draft")
        settings.pull_requests.append(made)
        state.save(request.repo, settings)
    return as_json({"num": num, "pullRequest": True})


def listing(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/discussions."""
    state.readable(request)
    found = state.settings(request.repo).pull_requests
    return as_json(
        {"discussions": [_brief(request, pull) for pull in found], "count": len(found), "start": 0}
    )


def details(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/discussions/{num}."""
    state.readable(request)
    return as_json(_details(request, _find(state.settings(request.repo).pull_requests, request)))


def status(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/discussions/{num}/status."""
    _, account = state.writable(request)
    wanted = take(request.json(), "status", str)
    with state.lock:
        settings = state.settings(request.repo)
        _find(settings.pull_requests, request).status = wanted
        state.save(request.repo, settings)
    event: dict[str, Json] = {
        "id": "1",
        "type": "status-change",
        "createdAt": OPENED,
        "author": {"name": account.name},
        "data": {"status": wanted},
    }
    return as_json({"newStatus": event})


def merge(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/discussions/{num}/merge."""
    history, account = state.writable(request)
    with state.lock:
        settings = state.settings(request.repo)
        pull = _find(settings.pull_requests, request)
        if pull.status != "open":
            raise RefusedError(400, f"This pull request is {pull.status}")
        message = f"{pull.title} (#{pull.num})"
        pull.merged = history.merge(f"refs/pr/{pull.num}", MAIN, message, account.name)
        pull.status = "merged"
        state.save(request.repo, settings)
    return as_json({})


def _find(pulls: list[PullRequest], request: Request) -> PullRequest:
    for pull in pulls:
        if pull.num == int(request.parts["num"]):
            return pull
    raise RefusedError(404, "Discussion not found")


def _brief(request: Request, pull: PullRequest) -> dict[str, Json]:
    return {
        "num": pull.num,
        "title": pull.title,
        "author": {"name": pull.author},
        "createdAt": OPENED,
        "status": pull.status,
        "repo": {"name": request.repo, "type": "model"},
        "isPullRequest": True,
    }


def _details(request: Request, pull: PullRequest) -> Json:
    return {
        **_brief(request, pull),
        "events": [],
        "changes": {"base": MAIN, "mergeCommitId": pull.merged},
        "filesWithConflicts": [],
        "diff": "",
    }
