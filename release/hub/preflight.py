"""What is checked of a tree before a byte of it leaves the machine."""

import json
import stat
from collections.abc import Mapping
from pathlib import Path

from recipes.formats.release_files import TEMPLATE_FILE
from release import allowlist
from release.digest import Tree
from release.errors import PublishError
from release.hub import secrets

CARD = "README.md"
TOKENIZER = "tokenizer_config.json"
TEXT = (
    ".json",
    ".jsonl",
    ".jinja",
    ".md",
    ".txt",
    ".sh",
    ".sig",
    ".yml",
    ".service",
    "LICENSE",
    "NOTICE",
    "SHA256SUMS",
)


def check(root: Path, tree: Tree, locked: Mapping[str, str]) -> None:
    """Refuse what must not be published. ``locked``: the sha256 of each file that the lock pins.

    Raises PublishError for a link or special file, a name that no release holds, a file that is
    not in the manifest or of another size, one that is not the locked one, code that a loader would
    run, a missing card, and a secret. No secret is repeated in the message.
    """
    _exactly(root, tree)
    _locked(root, tree, locked)
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


def _locked(root: Path, tree: Tree, locked: Mapping[str, str]) -> None:
    for path, sha256 in sorted(locked.items()):
        if path not in tree.files or tree.files[path].sha256 != sha256:
            raise PublishError(
                f"{root}: {path} is not the one that is locked",
                why="Readers would be served with a template that nobody measured.",
                hint="lock it with: invoke lock; then build again",
            )


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
    if path == TOKENIZER and "chat_template" in text and "chat_template" in _keys(path, text):
        raise PublishError(
            f"{path} holds a chat template beside {TEMPLATE_FILE}",
            why="Two templates in one release let two engines speak two formats.",
            hint="build it again: invoke build --step configure",
        )
    if path.endswith("config.json") and "auto_map" in text and "auto_map" in _keys(path, text):
        raise PublishError(
            f"{path} has an auto_map: loaders would run code from the repo",
            why="Loading a release runs nothing of it.",
        )


def _keys(path: str, text: str) -> set[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PublishError(f"{path} is not JSON: {error}") from error
    return set(found) if isinstance(found, dict) else set()
