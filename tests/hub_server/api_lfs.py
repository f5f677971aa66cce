"""Large files: what to send where, single and in parts, and what readers get of them.

Addresses to send to are signed, as those of a storage service are: no token is asked there.
"""

import hashlib
import hmac

from release.digest import Json
from tests.hub_server.state import State
from tests.hub_server.wire import RefusedError, Request, Response, as_json, tables, take

LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}


def batch(state: State, request: Request) -> Response:
    """POST /{repo}.git/info/lfs/objects/batch."""
    state.writable(request)
    data = request.json()
    transfers = data.get("transfers")
    parts = state.part_size if isinstance(transfers, list) and "multipart" in transfers else 0
    objects: list[Json] = []
    for wanted in tables(data, "objects"):
        sha256, size = take(wanted, "oid", str), take(wanted, "size", int)
        answer: dict[str, Json] = {"oid": sha256, "size": size}
        if state.blobs.size(sha256) is None:
            verify = f"{request.base}/{request.repo}.git/info/lfs/objects/verify"
            upload = _upload(state, request, sha256, size, parts)
            answer |= {"authenticated": True, "actions": {"upload": upload, "verify": {"href": verify}}}
        objects.append(answer)
    transfer = "multipart" if parts else "basic"
    return as_json({"transfer": transfer, "objects": objects}, headers=LFS_JSON)


def verify(state: State, request: Request) -> Response:
    """POST /{repo}.git/info/lfs/objects/verify."""
    state.writable(request)
    data = request.json()
    if state.blobs.size(take(data, "oid", str)) != take(data, "size", int):
        raise RefusedError(404, "Object does not exist")
    return as_json({}, headers=LFS_JSON)


def put(state: State, request: Request) -> Response:
    """PUT a whole blob."""
    _check_signature(state, request)
    _note_resent(state, request)
    state.blobs.put(request.parts["sha256"], request.body.chunks())
    return Response(headers={"ETag": f'"{request.parts["sha256"]}"'})


def put_part(state: State, request: Request) -> Response:
    """PUT one part of a blob."""
    _check_signature(state, request)
    _note_resent(state, request)
    number = int(request.parts["number"])
    etag = state.blobs.put_part(request.parts["sha256"], number, request.body.chunks())
    return Response(headers={"ETag": f'"{etag}"'})


def complete(state: State, request: Request) -> Response:
    """POST the list of parts: the blob is joined from them."""
    _check_signature(state, request)
    state.blobs.complete(request.parts["sha256"], len(tables(request.json(), "parts")))
    return as_json({"success": True})


def _upload(state: State, request: Request, sha256: str, size: int, part_size: int) -> Json:
    base, query = f"{request.base}/_lfs/{request.repo}/{sha256}", f"?signature={_sign(state, sha256)}"
    if not part_size or size <= part_size:
        return {"href": base + query}
    header: dict[str, Json] = {"chunk_size": str(part_size)}
    for number in range(1, -(-size // part_size) + 1):
        header[f"{number:05d}"] = f"{base}/parts/{number}{query}&partNumber={number}"
    return {"href": f"{base}/complete{query}", "header": header}


def _note_resent(state: State, request: Request) -> None:
    if state.blobs.size(request.parts["sha256"]) is not None:
        state.resent.append(request.path)


def _sign(state: State, sha256: str) -> str:
    return hmac.new(state.secret, sha256.encode(), hashlib.sha256).hexdigest()


def _check_signature(state: State, request: Request) -> None:
    given = request.query.get("signature", [""])[0]
    if not hmac.compare_digest(given, _sign(state, request.parts["sha256"])):
        raise RefusedError(403, "the signature of this address is wrong")
