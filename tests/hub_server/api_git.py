"""History: preupload, commit, refs, tags, branches, tree, paths-info, log."""

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime

from release.digest import Json
from tests.hub_server.history import Change, Entry, History, is_large, pointer
from tests.hub_server.state import PullRequest, State
from tests.hub_server.wire import RefusedError, Request, Response, as_json, parsed, tables, take

MAIN = "refs/heads/main"


def preupload(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/preupload/{revision}: which way each file goes, and what is there."""
    history, _ = state.writable(request)
    there = {entry.path: entry for entry in history.tree(history.resolve(request.parts["revision"]))}
    attributes = history.content(there[".gitattributes"].oid) if ".gitattributes" in there else b""
    files: list[Json] = []
    for file in tables(request.json(), "files"):
        path, sample = take(file, "path", str), _decoded(take(file, "sample", str))
        large = is_large(attributes, path, take(file, "size", int), sample)
        answer: dict[str, Json] = {"path": path, "uploadMode": "lfs" if large else "regular"}
        if entry := there.get(path):
            answer["oid"] = entry.sha256 or entry.oid
        files.append({**answer, "shouldIgnore": False})
    return as_json({"files": files})


def commit(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/commit/{revision}: one NDJSON body, one commit."""
    history, account = state.writable(request)
    lines = [parsed(line) for line in request.body.read().splitlines() if line.strip()]
    if not lines or lines[0].get("key") != "header":
        raise RefusedError(400, "the first line must be the header")
    header = take(lines[0], "value", dict)
    message = take(header, "summary", str)
    if description := take(header, "description", str, ""):
        message += f"\n\n{description}"
    parent = header.get("parentCommit")
    changes = _changes(state, lines[1:])
    if request.flag("create_pr"):
        start = parent if isinstance(parent, str) else request.parts["revision"]
        return _proposal(state, request, changes, message, account.name, start)
    ref = _branch(history, request.parts["revision"])
    oid = history.commit(
        ref, changes, message, account.name, parent=parent if isinstance(parent, str) else None
    )
    return as_json(_committed(request, oid))


def refs(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/refs."""
    found: dict[str, list[Json]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    kinds = {"heads": "branches", "tags": "tags", "pr": "pullRequests"}
    for ref, oid in state.readable(request).refs().items():
        _, kind, name = ref.split("/", 2)
        found[kinds[kind]].append({"name": name, "ref": ref, "targetCommit": oid})
    if not request.flag("include_prs"):
        del found["pullRequests"]
    return as_json(dict(found.items()))


def create_tag(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/tag/{revision}."""
    history, account = state.writable(request)
    data = request.json()
    commit = history.resolve(request.parts["revision"])
    history.point(f"refs/tags/{take(data, 'tag', str)}", commit, take(data, "message", str, ""), account.name)
    return as_json({})


def delete_tag(state: State, request: Request) -> Response:
    """DELETE /api/models/{repo}/tag/{name}."""
    history, _ = state.writable(request)
    history.drop(f"refs/tags/{request.parts['revision']}")
    return as_json({})


def create_branch(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/branch/{name}."""
    history, _ = state.writable(request)
    start = take(request.json(), "startingPoint", str, "main")
    history.point(f"refs/heads/{request.parts['revision']}", history.resolve(start))
    return as_json({})


def delete_branch(state: State, request: Request) -> Response:
    """DELETE /api/models/{repo}/branch/{name}."""
    history, _ = state.writable(request)
    if request.parts["revision"] == "main":
        raise RefusedError(403, "Cannot delete the default branch")
    history.drop(f"refs/heads/{request.parts['revision']}")
    return as_json({})


def tree(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/tree/{revision}[/{folder}]?recursive=true."""
    history = state.readable(request)
    folder = request.parts.get("folder") or ""
    entries = history.tree(history.resolve(request.parts["revision"]))
    below = [e for e in entries if not folder or e.path.startswith(f"{folder}/")]
    if folder and not below:
        raise RefusedError(404, f"{folder} does not exist", code="EntryNotFound")
    start = len(folder) + 1 if folder else 0
    flat = [e for e in below if request.flag("recursive") or "/" not in e.path[start:]]
    folders = sorted({e.path[:start] + e.path[start:].split("/")[0] for e in below if e not in flat})
    listed: list[Json] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders]
    return as_json(listed + [_entry(e) for e in flat])


def paths_info(state: State, request: Request) -> Response:
    """POST /api/models/{repo}/paths-info/{revision}; paths that are not there are left out."""
    history = state.readable(request)
    wanted = request.form().get("paths", [])
    there = {entry.path: entry for entry in history.tree(history.resolve(request.parts["revision"]))}
    return as_json([_entry(there[path]) for path in wanted if path in there])


def log(state: State, request: Request) -> Response:
    """GET /api/models/{repo}/commits/{revision}."""
    history = state.readable(request)
    moves = history.log(history.resolve(request.parts["revision"]))
    listed: list[Json] = [
        {
            "id": move.oid,
            "authors": [{"user": move.author}],
            "date": datetime.fromtimestamp(move.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "title": move.message.split("\n")[0],
            "message": "\n".join(move.message.split("\n")[2:]).strip(),
        }
        for move in moves
    ]
    return as_json(listed, headers={"X-Total-Count": str(len(listed))})


def _changes(state: State, lines: Iterable[dict[str, Json]]) -> list[Change]:
    changes = []
    for line in lines:
        value, key = take(line, "value", dict), line.get("key")
        path = take(value, "path", str)
        match key:
            case "file":
                content = take(value, "content", str)
                raw = _decoded(content) if value.get("encoding") == "base64" else content.encode()
                changes.append(Change(path=path, content=raw))
            case "lfsFile":
                sha256 = take(value, "oid", str)
                size = state.blob_size(sha256)
                if size is None:
                    raise RefusedError(400, f"{path}: LFS pointer to a file that does not exist")
                changes.append(Change(path=path, content=pointer(sha256, size)))
            case "deletedFile":
                changes.append(Change(path=path, content=None))
            case _:
                raise RefusedError(400, f"unknown operation {key!r}")
    return changes


def _proposal(
    state: State, request: Request, changes: list[Change], message: str, author: str, start: str
) -> Response:
    """Open a pull request that begins at ``start``: the parent that was named, or the branch."""
    with state.lock:
        settings, history = state.settings(request.repo), state.history(request.repo)
        num = len(settings.pull_requests) + 1
        history.point(f"refs/pr/{num}", history.resolve(start))
        oid = history.commit(f"refs/pr/{num}", changes, message, author, parent=None)
        title = message.split("\n")[0]
        settings.pull_requests.append(PullRequest(num=num, title=title, author=author))
        state.save(request.repo, settings)
    where = f"{request.base}/{request.repo}/discussions/{num}"
    return as_json({**_committed(request, oid), "pullRequestUrl": where})


def _branch(history: History, revision: str) -> str:
    ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    if ref not in history.refs():
        raise RefusedError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
    return ref


def _committed(request: Request, oid: str) -> dict[str, Json]:
    where = f"{request.base}/{request.repo}/commit/{oid}"
    return {"success": True, "commitOid": oid, "commitUrl": where, "hookOutput": ""}


def _entry(entry: Entry) -> Json:
    found: dict[str, Json] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": entry.path}
    if entry.sha256:
        found["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RefusedError(400, f"invalid base64: {error}") from error
