"""``invoke hub``: the local Hub on loopback, for a rehearsal or behind a private network's proxy."""

import json
import secrets
import string
from pathlib import Path

from tests.hub_server.server import PART_SIZE, serve
from tests.hub_server.state import State

HOST = "127.0.0.1"
NAME = "graftsmith"


def start(root: Path, port: int) -> None:
    """Listen until stopped. The first start makes an account that may write to ``graftsmith/*``."""
    token = _token(root / "accounts.json")
    print(f"token: in {token}; the Hub keeps everything below {root}")
    print("in another terminal:")
    print(
        f"  export HF_ENDPOINT=http://{HOST}:{port} HF_HUB_DISABLE_XET=1 HF_TOKEN_PATH={token}",
    )
    print("  invoke hub-setup && invoke release --version 0.1.0 --hub hf")
    state = State(root, part_size=PART_SIZE)
    serve(state, HOST, port, lambda line: print(f"listening on {line}", flush=True))


def _token(accounts: Path) -> Path:
    file = accounts.with_name("token")
    if not accounts.exists():
        accounts.parent.mkdir(parents=True, exist_ok=True)
        made = "hf_" + "".join(secrets.choice(string.ascii_letters) for _ in range(34))
        for path, text in ((accounts, json.dumps({made: {"name": NAME, "role": "write"}})), (file, made)):
            path.touch(mode=0o600)
            path.write_text(text)
    return file
