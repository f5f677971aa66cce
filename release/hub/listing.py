"""What a repo on a Hub is at a revision: the commit, and the digest of every file.

Nothing large is downloaded. The Hub tells the sha256 of each LFS file; a small file is
fetched to hash it, and its git id says whether it came whole. ``HF_ENDPOINT`` says which Hub,
``HF_TOKEN`` or the token file who asks.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from release.digest import File, Tree, sha256_bytes
from release.errors import LockError, NetworkError
from release.hub.files import SERVER_OWNED, RemoteFile, git_oid
from release.lock import Pinned
from release.reponame import RepoName
from release.source import HubSource

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SMALL = 64 << 20
"""Bytes above which a file that is not LFS is refused: it would be held in memory."""


def ask(source: HubSource) -> Pinned:
    """Return what the Hub says that ``source`` is.

    Raises LockError when there is no such repo or revision, NetworkError when the Hub does
    not answer or sends bytes that are not those it names.
    """
    from huggingface_hub import HfApi  # a release that asks nobody does not pay for it

    api = HfApi()
    with answered(source.repo, f"@{source.revision}"):
        commit = str(api.model_info(str(source.repo), revision=source.revision).sha)
        files = {
            path: _file(api, source.repo, commit, path, there)
            for path, there in listed(api, str(source.repo), commit).items()
            if path not in SERVER_OWNED
        }
    try:
        return Pinned(commit=commit, tree=Tree(files))
    except ValueError as error:
        raise LockError(f"{source}: {error}", why="A tree holds plain relative paths.") from error


def listed(api: "HfApi", repo: str, revision: str) -> dict[str, RemoteFile]:
    """Return the files at a revision, by the ids that the Hub gives. Raises what the client raises."""
    from huggingface_hub.hf_api import RepoFile

    return {
        entry.path: RemoteFile(
            size=entry.size, git_oid=entry.blob_id, sha256=entry.lfs.sha256 if entry.lfs else None
        )
        for entry in api.list_repo_tree(repo, recursive=True, revision=revision)
        if isinstance(entry, RepoFile)
    }


@contextmanager
def answered(repo: RepoName, what: str) -> Iterator[None]:
    """Turn what the Hub's client raises into errors that name the repo and what to type."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    try:
        yield
    except errors.GatedRepoError as error:
        raise LockError(
            f"{repo} is gated, and this account has no access",
            hint=f"open the repo's page, accept its terms, then set HF_TOKEN to a token that reads {repo}",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise LockError(
            f"the Hub has no repo {repo}, or this account may not see it",
            hint="correct the name in recipe.toml, or set HF_TOKEN to a token that reads it",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise LockError(f"{repo} has no revision {what}", hint="correct it in recipe.toml") from error
    except (errors.OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # our disk, not the Hub
        raise NetworkError(
            f"{repo}{what}: the Hub did not answer: {error}".strip(),
            why="What was finished before is kept, and nothing else was changed.",
            hint="the same command tries again; HF_ENDPOINT names another Hub",
        ) from error


def _file(api: "HfApi", repo: RepoName, commit: str, path: str, there: RemoteFile) -> File:
    if there.sha256 is not None:
        return File(there.sha256, there.size)
    if there.size > SMALL:
        raise LockError(f"{repo}@{commit}: {path} has {there.size:,} bytes and is not in LFS")
    data = _read(api, repo, commit, path)
    if len(data) != there.size or git_oid(data) != there.git_oid:
        raise NetworkError(
            f"{repo}@{commit}: {path} did not arrive as the Hub lists it",
            hint="the same command tries again",
        )
    return File(sha256_bytes(data), len(data))


def _read(api: "HfApi", repo: RepoName, commit: str, path: str) -> bytes:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    url = hf_hub_url(str(repo), path, revision=commit, endpoint=api.endpoint)
    response = http_backoff("GET", url, headers=build_hf_headers(), follow_redirects=True)
    hf_raise_for_status(response)
    return bytes(response.content)
