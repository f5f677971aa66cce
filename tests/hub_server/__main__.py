"""Start the Hub: ``python -m tests.hub_server --root DIR [--port N] [--part-size BYTES]``."""

import argparse
from pathlib import Path

from tests.hub_server.server import PART_SIZE, serve
from tests.hub_server.state import State


def main() -> None:
    """Listen until stopped; the first line printed is the address."""
    parser = argparse.ArgumentParser(prog="hub_server", description="a local Hub")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--part-size", type=int, default=PART_SIZE, help="0: blobs are never sent in parts")
    parser.add_argument("--token-seconds", type=float, default=3600, help="how long a CI job's token lasts")
    parser.add_argument("--xet", action="store_true", help="offer Xet, to one client process at a time")
    asked = parser.parse_args()
    state = State(asked.root, part_size=asked.part_size, token_seconds=asked.token_seconds, xet=asked.xet)
    serve(state, asked.host, asked.port, _say)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (a command's output)


main()
