"""What was staged from this store, by version: the very trees, so that a promotion is held to them.

It is noted (``store/waiting.py``) before a byte is sent, and taken again by the next run for the same
assembled trees: what may come out otherwise each time, as a signature does, comes out once.
"""

from collections.abc import Mapping

from release.hub.transaction import Release, RepoTree
from release.line import Line
from release.store.waiting import Note


def settle(line: Line, version: str, assembled: Mapping[str, str], made: Release) -> Release:
    """Return the release that was noted for ``assembled``, else note ``made`` and return it.

    ``assembled`` are trees by the name of their step.
    """
    if (found := noted(line, version, assembled, made.repos[0].locked)) is not None:
        return found
    trees = {repo.repo: repo.tree.digest for repo in made.repos}
    line.store.waiting.put(line.recipe.name, version, Note(assembled=dict(assembled), trees=trees))
    return made


def noted(
    line: Line, version: str, assembled: Mapping[str, str], locked: Mapping[str, str]
) -> Release | None:
    """Return what was staged as ``version`` for these ``assembled`` trees, or None."""
    same = line.store.waiting.get(line.recipe.name, version).assembled == assembled
    return recall(line, version, locked) if same else None


def recall(line: Line, version: str, locked: Mapping[str, str] | None = None) -> Release | None:
    """Return what was staged as ``version``, or None when nothing was, or its trees are gone."""
    trees, repos = line.store.waiting.get(line.recipe.name, version).trees, line.recipe.repos
    found = [_tree(line, repo, trees.get(repo, ""), locked or {}) for repo in (repos.master, repos.nvfp4)]
    master, nvfp4 = found
    return Release(version=version, repos=(master, nvfp4)) if master and nvfp4 else None


def _tree(line: Line, repo: str, digest: str, locked: Mapping[str, str]) -> RepoTree | None:
    tree = line.store.use_tree(digest) if digest else None
    if tree is None:
        return None
    root = line.store.folder(digest, f"staged-{repo.rpartition('/')[2]}")
    return RepoTree(repo=repo, root=root, tree=tree, locked=locked)
