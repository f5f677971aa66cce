"""What is checked of a tree before a byte of it leaves the machine."""

import json
import stat
from pathlib import Path

from release import allowlist
from release.digest import Tree
from release.errors import PublishError
from release.hub import secrets

CARD = "README.md"
TEXT = (".json", ".jsonl", ".jinja", ".md", ".txt", ".sig", "LICENSE", "NOTICE", "SHA256SUMS")


def check(root: Path, tree: Tree) -> None:
    """Refuse what must not be published.

    Raises PublishError for a link or special file, a name that no release holds, a file that is
    not in the manifest or of another size, code that a loader would run, a missing card, and a
    secret. No secret is repeated in the message.
    """
    _exactly(root, tree)
    if CARD not in tree.files:
        raise PublishError(f"{root} has no {CARD}", hint="assemble it again: invoke build --step assemble")
    for path in sorted(tree.files):
        _plain(root / path, tree.files[path].size)
        if not allowlist.allowed(path):
            raise PublishError(f"{path}: no release holds such a file", why=allowlist.WHY)
        if path.endswith(TEXT):
            _text(path, (root / path).read_bytes().decode(errors="replace"))


def _exactly(root: Path, tree: Tree) -> None:
    here = {path.relative_to(root).as_posix() for path in root.rglob("*") if not _is_folder(path)}
    if here != set(tree.files):
        odd = ", ".join(sorted(here ^ set(tree.files))[:5])
        raise PublishError(f"{root} does not hold exactly the files of its manifest: {odd}")


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _plain(path: Path, size: int) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise PublishError(f"{path} is not a plain file", why="A release holds plain files only.")
    if found.st_size != size:
        raise PublishError(f"{path} has {found.st_size} bytes, its manifest says {size}")


def _text(path: str, text: str) -> None:
    if (kind := secrets.found_in(text)) is not None:
        raise PublishError(
            f"{path} holds {kind}",
            why="What is published cannot be taken back.",
            hint="remove it from what makes the file, and revoke the secret",
        )
    if path.endswith("config.json") and "auto_map" in text and "auto_map" in _keys(path, text):
        raise PublishError(
            f"{path} has an auto_map: loaders would run code from the repo",
            why="A release holds nothing that can run.",
        )


def _keys(path: str, text: str) -> set[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PublishError(f"{path} is not JSON: {error}") from error
    return set(found) if isinstance(found, dict) else set()
