"""A server in a process of its own, as tests use it: start, break, ask, stop, start again."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from release.digest import Json

PROJECT = Path(__file__).resolve().parents[2]
OWNER = "graftsmith"
TOKEN = "hf_" + "LocalHubWriteToken" + "x" * 16  # the form of a real token, so that redaction is tested
READER = "hf_" + "LocalHubReaderToken" + "x" * 15
ACCOUNTS = {TOKEN: {"name": OWNER, "role": "write"}, READER: {"name": "reader", "role": "read"}}


class RunningHub:
    """A Hub that listens at ``url``."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "accounts.json").write_text(json.dumps(ACCOUNTS))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hub_server", "--root", str(root), *options],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the server did not start"

    def faults(self, *faults: dict[str, Json]) -> None:
        """Let the next requests that match fail; without faults, all is well again."""
        self._ask("/_hub/faults", {"faults": list(faults)})

    def struck(self) -> int:
        """Return how many requests have met a fault."""
        found = self._ask("/_hub/struck")
        assert isinstance(found, int)
        return found

    def asked(self, start: int = 0) -> list[dict[str, Json]]:
        """Return the requests since ``start``, in the order of their ends."""
        found = self._ask(f"/_hub/asked?from={start}")
        assert isinstance(found, list)
        return [entry for entry in found if isinstance(entry, dict)]

    def resent(self, repo: str) -> list[str]:
        """Return the blobs that a client sent to ``repo`` although the Hub had them."""
        found = self._ask("/_hub/resent")
        assert isinstance(found, list)
        return [str(path) for path in found if f"/{repo}/" in str(path)]

    def git(self, repo: str, *arguments: str) -> str:
        """Run git itself on a repo's history and return what it prints."""
        command = ["git", "--git-dir", str(self.root / "repos" / f"{repo}.git"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def stop(self) -> None:
        """Kill the server: what it has answered must be on disk."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, path: str, body: Json = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data)  # noqa: S310 (our own server)
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer: Json = json.load(response)
            return answer


@contextmanager
def running(root: Path, *options: str) -> Iterator[RunningHub]:
    """Start a Hub and stop it at the end."""
    hub = RunningHub(root, *options)
    try:
        yield hub
    finally:
        hub.stop()
