"""Publish in a process of its own, by Xet: whether the client speaks it is decided when it is imported."""

import json
import sys
from pathlib import Path

from release.errors import GraftsmithError
from release.hub.huggingface import HuggingFaceHub
from release.hub.intent import Intent
from release.hub.transaction import Release, RepoTree, publish
from tests.unit.hub.release_trees import manifest
from tests.unit.hub.remote import PATIENCE

ROTS = "--rots"


def main(endpoint: str, journals: str, version: str, *pairs: str) -> None:
    """Publish two ``name=root`` and print what was done."""
    repos = []
    for pair in pairs:
        name, root = pair.split("=")
        repos.append(RepoTree(repo=name, root=Path(root), tree=manifest(Path(root))))

    def rot(_: Intent) -> None:
        """Change a byte after all was looked at, as a disk does it."""
        if ROTS in sys.argv:
            weights = repos[0].root / "model.safetensors"
            data = weights.read_bytes()
            weights.chmod(0o644)
            weights.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    hub = HuggingFaceHub(endpoint=endpoint, journals=Path(journals), patience=PATIENCE, confirm=rot)
    try:
        outcome = publish(hub, Release(version=version, repos=(repos[0], repos[1])))
        said = {"state": outcome.state.value, "sent": [repo.sent for repo in outcome.repos]}
    except GraftsmithError as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said))


main(*(argument for argument in sys.argv[1:] if argument != ROTS))
