"""A store and a Hub for tests that run ``invoke`` as a user does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from release.store import default_root

PROJECT = Path(__file__).resolve().parents[2]


class House:
    """A store and a Hub of their own; the environments are the user's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "store"
        self.hub = root / "hub"
        self.store.mkdir()
        for name in ("envs", "cache"):
            (default_root() / name).mkdir(parents=True, exist_ok=True)
        (self.store / "envs").symlink_to(default_root() / "envs")
        (self.store / "cache").mkdir()
        (self.store / "cache" / "uv").symlink_to(default_root() / "cache" / "uv")

    @property
    def environment(self) -> dict[str, str]:
        """What the user's shell has: this store is theirs."""
        return {**os.environ, "GRAFTSMITH_STORE": str(self.store)}

    def recipe(self, name: str) -> Path:
        """Copy the tiny recipe to a folder of its own and return that folder."""
        root = self.root / name / "recipes"
        for folder in ("tiny", "templates"):
            shutil.copytree(PROJECT / "recipes" / folder, root / folder)
        return root / "tiny"

    def invoke(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``invoke`` as a user does."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("invoke")), *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def release(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``invoke release --version 0.1.0`` against this Hub."""
        return self.invoke("release", "--version", "0.1.0", "--hub", str(self.hub), *arguments)

    def files(self) -> dict[str, tuple[int, int]]:
        """Return inode and mtime of each file of the Hub."""
        return {
            str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.hub.rglob("*")
            if path.is_file()
        }
