"""Accounts and repos: who am I, create, look, may I write, settings, and the check of a card."""

import hashlib
import re

import yaml

from release.digest import Json
from release.errors import UsageError
from release.reponame import RepoName
from tests.hub_server.history import Entry
from tests.hub_server.state import State
from tests.hub_server.wire import RefusedError, Request, Response, as_json, take

RELATIONS = ("adapter", "merge", "quantized", "finetune")
_FRONT = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)


def whoami(state: State, request: Request) -> Response:
    """GET /api/whoami-v2."""
    account = state.accounts.known(request)
    return as_json(
        {
            "type": "user",
            "id": _id(account.name),
            "name": account.name,
            "fullname": account.name,
            "isPro": False,
            "orgs": [{"type": "org", "name": org} for org in account.orgs],
            "auth": {"type": "access_token", "accessToken": {"displayName": "local", "role": account.role}},
        }
    )


def create(state: State, request: Request) -> Response:
    """POST /api/repos/create."""
    data = request.json()
    repo, private = _named(state, request, data), take(data, "visibility", str, "public") == "private"
    account = state.accounts.known(request)
    if account.only or not account.may_write(repo):
        raise RefusedError(403, f"You don't have the rights to create a model under {repo.split('/')[0]}")
    where: dict[str, Json] = {"url": f"{request.base}/{repo}", "name": repo, "id": _id(repo)}
    try:
        state.create(repo, account, private=private or take(data, "private", bool, False))
    except KeyError:
        said = "You already created this model repo"
        raise RefusedError(409, said, body={"error": said, **where}) from None
    except UsageError as error:
        raise RefusedError(400, error.what) from error
    return as_json(where)


def delete(state: State, request: Request) -> Response:
    """DELETE /api/repos/delete."""
    repo = _named(state, request, request.json())
    state.history(repo)
    if not state.accounts.known(request).may_write(repo):
        raise RefusedError(403, "Forbidden: you don't have the rights to write to this repo")
    state.delete(repo)
    return as_json({})


def info(state: State, request: Request) -> Response:
    """GET /api/models/{repo}[/revision/{revision}]."""
    history = state.readable(request)
    commit = history.resolve(request.parts.get("revision") or "main")
    entries = history.tree(commit)
    siblings: list[Json] = [_sibling(entry, blobs=request.flag("blobs")) for entry in entries]
    return as_json(
        {
            "_id": _id(request.repo),
            "id": request.repo,
            "modelId": request.repo,
            "author": request.repo.split("/")[0],
            "sha": commit,
            "private": state.settings(request.repo).private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }
    )


def may_read(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/auth-check."""
    state.readable(request)
    return as_json({})


def may_write(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/auth-check/write."""
    state.writable(request)
    return as_json({})


def settings(state: State, request: Request) -> Response:
    """PUT /api/models/{repo}/settings."""
    state.writable(request)
    visibility = take(request.json(), "visibility", str)
    with state.lock:
        found = state.settings(request.repo)
        found.private = visibility == "private"
        state.save(request.repo, found)
    return as_json({"visibility": visibility})


def validate_card(state: State, request: Request) -> Response:
    """POST /api/validate-yaml: the metadata of a card."""
    found = _FRONT.match(take(request.json(), "content", str))
    if found is None:
        return as_json(
            {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        )
    errors: list[Json] = [{"message": said} for said in _card_errors(found[1])]
    return as_json({"errors": errors, "warnings": []}, status=400 if errors else 200)


def _card_errors(text: str) -> list[str]:
    try:
        card = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"invalid YAML: {str(error).splitlines()[0]}"]
    if not isinstance(card, dict):
        return ["metadata must be a table"]
    if card.get("base_model_relation", RELATIONS[0]) not in RELATIONS:
        return [f'"base_model_relation" must be one of {list(RELATIONS)}']
    return []


def _sibling(entry: Entry, *, blobs: bool) -> Json:
    found: dict[str, Json] = {"rfilename": entry.path}
    if blobs:
        found |= {"size": entry.size, "blobId": entry.oid}
    if blobs and entry.sha256:
        found["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return found


def _named(state: State, request: Request, data: dict[str, Json]) -> str:
    owner = data.get("organization") or state.accounts.known(request).name
    try:
        return str(RepoName.parse(f"{owner}/{take(data, 'name', str)}"))
    except UsageError as error:
        raise RefusedError(400, error.what) from error


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
