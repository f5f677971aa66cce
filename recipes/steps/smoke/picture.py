"""A small picture in a message: what a request to the vision tower looks like."""

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence

SIDE = 64
_RED = (200, 30, 30)


def messages() -> Sequence[Mapping[str, object]]:
    """Return a conversation of one message that shows a red square."""
    link = "data:image/png;base64," + base64.b64encode(png()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": link}},
        {"type": "text", "text": "What colour is this?"},
    ]
    return [{"role": "user", "content": parts}]


def png() -> bytes:
    """Return a square of one colour as PNG, 8 bits a channel."""
    rows = (b"\0" + bytes(_RED) * SIDE) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
