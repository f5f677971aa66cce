"""Runs inside an image: says what is there, as one JSON object on standard output.

    python -I probe.py MODULE...

It imports each module in a process of its own, so that what one of them breaks is seen at
that one. It knows nothing but the standard library.
"""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SECRET_FILES = frozenset(
    {".netrc", ".git-credentials", ".pypirc", "id_rsa", "id_ed25519", "credentials.json", ".dockerconfigjson"}
)
SECRET_PATHS = re.compile(r"/\.(aws|ssh|docker|huggingface|cache/huggingface)/|/run/secrets/.")
PLACES = ("/root", "/home", "/opt", "/run", "/build", "/tmp")  # noqa: S108 (looked at, not used)


def main() -> None:
    """Print what is in the image."""
    found = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "uid": os.getuid(),
        "packages": {dist.name: dist.version for dist in importlib.metadata.distributions()},
        "imports": {name: _error_of(name) for name in sys.argv[1:]},
        "secrets": sorted(_secrets()),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _error_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def _secrets() -> Iterator[str]:
    for place in PLACES:
        for folder, _, names in os.walk(place):
            for name in names:
                path = str(Path(folder) / name)
                if name in SECRET_FILES or SECRET_PATHS.search(path):
                    yield path


if __name__ == "__main__":
    main()
