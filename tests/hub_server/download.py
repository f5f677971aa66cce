"""What readers get: small files from git, large ones from another host name, ranges of both."""

import re

from tests.hub_server.state import State
from tests.hub_server.wire import RefusedError, Request, Response


def resolve(state: State, request: Request) -> Response:
    """GET or HEAD /{repo}/resolve/{revision}/{path}."""
    history = state.readable(request)
    commit = history.resolve(request.parts["revision"])
    path = request.parts["path"]
    entry = next((entry for entry in history.tree(commit) if entry.path == path), None)
    if entry is None:
        raise RefusedError(404, "Entry not found", code="EntryNotFound")
    headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes", "ETag": f'"{entry.oid}"'}
    if entry.sha256 is None:
        return _ranged(history.content(entry.oid), request, headers)
    # Another host name, as on the Hub: clients follow a redirect on the same host themselves.
    elsewhere = request.base.replace("127.0.0.1", "localhost")
    linked = {
        "X-Linked-Size": str(entry.size),
        "X-Linked-Etag": f'"{entry.sha256}"',
        "Location": f"{elsewhere}/_blobs/{request.repo}/{entry.sha256}",
    }
    if state.blobs.size(entry.sha256) is None and (found := state.in_xet(entry.sha256)) is not None:
        route = f"{request.base}/api/models/{request.repo}/xet-read-token/{commit}"
        linked |= {"X-Xet-Hash": found.hash, "X-Xet-Refresh-Route": route}
    return Response(status=302, headers=headers | linked)


def blob(state: State, request: Request) -> Response:
    """GET or HEAD a large file's bytes, or a range of them."""
    sha256 = request.parts["sha256"]
    size = state.blobs.size(sha256)
    if size is None:
        raise RefusedError(404, "Blob not found", code="EntryNotFound")
    start, end, partial = _range(request, size)
    headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Response(
        status=206 if partial else 200, headers=headers, file=state.blobs.path(sha256), span=(start, end)
    )


def _ranged(data: bytes, request: Request, headers: dict[str, str]) -> Response:
    start, end, partial = _range(request, len(data))
    if partial:
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
    headers |= {"Content-Type": "text/plain; charset=utf-8"}
    return Response(status=206 if partial else 200, body=data[start:end], headers=headers)


def _range(request: Request, size: int) -> tuple[int, int, bool]:
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if asked is None or asked[0] == "bytes=-":
        return 0, size, False
    if not asked[1]:
        return max(0, size - int(asked[2])), size, True
    start, end = int(asked[1]), min(size, int(asked[2]) + 1 if asked[2] else size)
    if start >= size:
        raise RefusedError(416, "Range not satisfiable")
    return start, end, True
