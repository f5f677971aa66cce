"""One request and one response, and how a request is refused."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import parse_qs

from release.digest import Json

CHUNK = 1 << 20

T = TypeVar("T", str, int, bool, list[Json], dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is answered: bytes, or a range of a file."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    span: tuple[int, int] = (0, 0)
    """First byte of ``file`` and one past the last."""

    @property
    def length(self) -> int:
        """Bytes of the answer."""
        return len(self.body) if self.file is None else self.span[1] - self.span[0]


class RefusedError(Exception):
    """A request that is answered with an error, in the words of the Hub."""

    def __init__(
        self, status: int, message: str, *, code: str = "", body: Mapping[str, Json] | None = None
    ) -> None:
        super().__init__(message)
        self.response = as_json(
            dict(body or {"error": message}),
            status=status,
            headers={"X-Error-Message": message.replace("\n", " ")}
            | ({"X-Error-Code": code} if code else {}),
        )


class Body:
    """A request's body, read once, from a length or in chunks. What is left must be drained."""

    def __init__(self, stream: BinaryIO, length: int | None) -> None:
        self._stream = stream
        self._left = length
        self.received = 0

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces."""
        while self._left is None or self._left > 0:
            piece = self._chunk() if self._left is None else self._stream.read(min(self._left, CHUNK))
            if not piece:
                self._left = 0
                return
            if self._left is not None:
                self._left -= len(piece)
            self.received += len(piece)
            yield piece

    def read(self) -> bytes:
        """Return what is left of the body."""
        return b"".join(self.chunks())

    def drain(self) -> None:
        """Read to the end: a connection that is kept alive would break otherwise."""
        for _ in self.chunks():
            pass

    def _chunk(self) -> bytes:
        size = int(self._stream.readline().split(b";")[0] or b"0", 16)
        piece = self._stream.read(size)
        self._stream.readline()
        return piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked. ``parts`` are the named parts of its path, unquoted."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    parts: Mapping[str, str]
    body: Body
    base: str
    """The server's own address as the client wrote it."""

    @property
    def repo(self) -> str:
        """The repo that the path names."""
        return self.parts["repo"]

    def json(self) -> dict[str, Json]:
        """Return the JSON body."""
        return parsed(self.body.read() or b"{}")

    def form(self) -> Mapping[str, list[str]]:
        """Return the form in the body."""
        return parse_qs(self.body.read().decode())

    def flag(self, name: str) -> bool:
        """Tell whether the query says yes."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")


def parsed(data: bytes) -> dict[str, Json]:
    """Parse a JSON table. Raises RefusedError."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise RefusedError(400, f"invalid JSON: {error}") from error
    if not isinstance(found, dict):
        raise RefusedError(400, "expected a JSON object")
    return found


def take(data: Mapping[str, Json], key: str, kind: type[T], default: T | None = None) -> T:
    """Return a field of a table. Raises RefusedError when it is missing or of another kind."""
    value: object = data.get(key, default)
    if not isinstance(value, kind):
        raise RefusedError(400, f'"{key}": expected {kind.__name__}')
    return value


def tables(data: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    """Return a list of tables. Raises RefusedError."""
    found: list[Json] = take(data, key, list)
    if not all(isinstance(item, dict) for item in found):
        raise RefusedError(400, f'"{key}": expected objects')
    return cast(list[dict[str, Json]], found)


def as_json(value: Json, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(
        status=status,
        body=json.dumps(value).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )
