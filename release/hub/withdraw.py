"""Taking a release back, as far as that is right: nothing that was published is deleted.

    roll_back   main of both repos holds the files of the release before; tags stay; no upload
    yank        nobody new finds the version: its tags go, and ``yanked-v1.0.0`` keeps it taken

Both continue when they are asked again, and find nothing to do when they are done.
"""

from dataclasses import dataclass

from huggingface_hub import CommitOperationCopy

from release.errors import PublishError, UsageError
from release.hub.client import Client, StaleParentError, TagTakenError
from release.hub.files import SERVER_OWNED, RemoteFile

YANKED = "yanked-v"


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """How one repo's ``main`` gets back: from which commit, to the files of which."""

    repo: str
    main: str
    target: str
    copies: tuple[str, ...]
    deletes: tuple[str, ...]


def roll_back(client: Client, repos: tuple[str, str], version: str) -> str:
    """Put the files of the release before ``version`` on both mains; return that release's version.

    Raises UsageError when there is no such release in both repos, PublishError when ``main``
    moves meanwhile.
    """
    before = _before(client, repos, version)
    plans = [_back(client, repo, f"v{before}") for repo in repos]
    for plan in plans:
        if plan.copies or plan.deletes:
            _commit(client, plan, f"Roll back v{version} to v{before}")
    return before


def yank(client: Client, repos: tuple[str, str], version: str) -> None:
    """Take the tags of a version away from both repos, and keep its name taken.

    Raises UsageError when neither repo has the version.
    """
    tag, kept = f"v{version}", f"{YANKED}{version}"
    commits: list[tuple[str, str]] = []
    for repo in repos:
        _, tags = client.refs(repo)
        if (commit := tags.get(tag) or tags.get(kept)) is not None:
            commits.append((repo, commit))
    if not commits:
        raise UsageError(f"neither {repos[0]} nor {repos[1]} has {tag}")
    for repo, commit in commits:
        try:
            client.tag(repo, kept, commit, f"Yanked {tag}")
        except TagTakenError:
            continue  # by an earlier try
    for repo, _ in reversed(commits):
        client.untag(repo, tag)


def _before(client: Client, repos: tuple[str, str], version: str) -> str:
    import semver

    def releases(repo: str) -> set[str]:
        _, tags = client.refs(repo)
        return {tag[1:] for tag in tags if tag[0] == "v" and semver.Version.is_valid(tag[1:])}

    both = releases(repos[0]) & releases(repos[1])
    earlier = [found for found in both if semver.Version.parse(found) < semver.Version.parse(version)]
    if not earlier:
        raise UsageError(
            f"there is no release before {version} in both repos",
            hint=f"they have in common: {', '.join(sorted(both)) or 'none'}",
        )
    return max(earlier, key=semver.Version.parse)


def _back(client: Client, repo: str, tag: str) -> Back:
    main, tags = client.refs(repo)
    there, wanted = _owned(client, repo, main), _owned(client, repo, tags[tag])
    return Back(
        repo=repo,
        main=main,
        target=tags[tag],
        copies=tuple(path for path in sorted(wanted) if there.get(path) != wanted[path]),
        deletes=tuple(sorted(set(there) - set(wanted))),
    )


def _commit(client: Client, plan: Back, message: str) -> None:
    def landed() -> str | None:
        main, _ = client.refs(plan.repo)
        same = _owned(client, plan.repo, main) == _owned(client, plan.repo, plan.target)
        return main if same else None

    copies = [CommitOperationCopy(path, path, src_revision=plan.target) for path in plan.copies]
    try:
        client.commit(plan.repo, copies, plan.deletes, message, parent=plan.main, landed=landed)
    except StaleParentError:
        if landed() is None:
            raise PublishError(
                f"{plan.repo}: main moved meanwhile; nothing was overwritten",
                hint="run the same command again",
            ) from None


def _owned(client: Client, repo: str, revision: str) -> dict[str, RemoteFile]:
    files = client.files(repo, revision)
    return {path: file for path, file in files.items() if path not in SERVER_OWNED}
