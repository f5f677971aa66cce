"""What was staged from this store, by version: the very trees, so that a promotion is held to them.

    publishing/staged/<line>-v<version>.json
    {"assembled": {"assemble-master": "<tree>", …}, "trees": {"owner/name": "<tree>", …}}

It is written before a byte is sent, and taken again by the next run for the same assembled trees: what
may come out otherwise each time, as a signature does, comes out once.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from release.hub.transaction import Release, RepoTree
from release.line import Line
from release.store import durable


def settle(line: Line, version: str, assembled: Mapping[str, str], made: Release) -> Release:
    """Return the release that was noted for ``assembled``, else note ``made`` and return it.

    ``assembled`` are trees by the name of their step.
    """
    noted, locked = _read(line, version), made.repos[0].locked
    if noted.get("assembled") == dict(assembled) and (found := recall(line, version, locked)) is not None:
        return found
    trees = {repo.repo: repo.tree.digest for repo in made.repos}
    text = json.dumps({"assembled": dict(assembled), "trees": trees}, indent=1, sort_keys=True)
    durable.make_folder(_file(line, version).parent)
    durable.write(_file(line, version), text.encode() + b"\n")
    return made


def recall(line: Line, version: str, locked: Mapping[str, str] | None = None) -> Release | None:
    """Return what was staged as ``version``, or None when nothing was, or its trees are gone."""
    trees, repos = _read(line, version).get("trees", {}), line.recipe.repos
    found = [_tree(line, repo, trees.get(repo, ""), locked or {}) for repo in (repos.master, repos.nvfp4)]
    master, nvfp4 = found
    return Release(version=version, repos=(master, nvfp4)) if master and nvfp4 else None


def _tree(line: Line, repo: str, digest: str, locked: Mapping[str, str]) -> RepoTree | None:
    tree = line.store.tree(digest) if digest else None
    if tree is None:
        return None
    root = line.store.folder(digest, f"staged-{repo.rpartition('/')[2]}")
    return RepoTree(repo=repo, root=root, tree=tree, locked=locked)


def _file(line: Line, version: str) -> Path:
    return line.store.root / "publishing" / "staged" / f"{line.recipe.name}-v{version}.json"


def _read(line: Line, version: str) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(_file(line, version).read_text())
        return {name: {str(k): str(v) for k, v in found[name].items()} for name in ("assembled", "trees")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
