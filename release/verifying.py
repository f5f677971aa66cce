"""``invoke verify OWNER/NAME@vX``: whether a published release is what it says, for anybody.

No weights are downloaded: the Hub's ids of large files are their sha256, and headers are read
by ranges. Nothing of this machine is asked, and no token is needed for public repos.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from release import allowlist
from release import record as records
from release.digest import File, Tree, sha256_bytes
from release.errors import ProofError, UsageError
from release.home import default_root
from release.hub.calls import CallJournal
from release.hub.client import Client, endpoint
from release.hub.files import SERVER_OWNED, RemoteFile
from release.hub.insist import Patience, one_try
from release.hub.record import SUMS_FILE
from release.record import RECORD_FILE, Record
from release.reponame import RepoName
from release.report.terminal import Terminal, rows_table

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One sentence about a published repo, and whether it holds."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a tag holds: ids from the Hub, small files by their bytes."""

    repo: str
    tag: str
    commit: str
    there: Mapping[str, RemoteFile]
    small: Mapping[str, bytes]

    def digest(self, path: str) -> str | None:
        """Return the sha256 of a file, or None when it is not there."""
        file = self.there.get(path)
        if file is None:
            return None
        return file.sha256 or sha256_bytes(self.small[path])


def verify(asked: str, terminal: Terminal) -> None:
    """Check one repo of a release at its tag, and that its sibling says the same.

    Raises ProofError when something does not hold, UsageError for a name or tag that is not there.
    """
    name, _, tag = asked.partition("@")
    repo = str(RepoName.parse(name))
    if not tag:
        raise UsageError(f"{asked!r} names no version", hint=f"write it like {repo}@v1.0.0")
    patience = Patience()
    with one_try(patience):
        journal = CallJournal(default_root() / "publishing" / "verify.jsonl", version="", repos={})
        client = Client.connect(endpoint(), patience, journal)
        published = read(client, repo, tag)
        checks = [*check(published), *_sibling(client, published), *_headers(client, published)]
    rows = [("✓" if found.holds else "✗", found.name, found.found) for found in checks]
    terminal.console.print(
        rows_table(f"{repo} {tag} ({published.commit[:12]})", ("", "check", "found"), rows)
    )
    if failed := [found.name for found in checks if not found.holds]:
        raise ProofError(
            f"{repo} {tag} is not what it says: {', '.join(failed)}",
            why="Somebody changed the repo after it was released, or the release was not made by this tool.",
            hint="pin another version, and tell the owner of the repo",
        )


def read(client: Client, repo: str, tag: str) -> Published:
    """Read what a tag holds. Raises UsageError when there is no such tag."""
    _, tags = client.refs(repo)
    if (commit := tags.get(tag)) is None:
        raise UsageError(f"{repo} has no tag {tag}", hint=f"it has: {', '.join(sorted(tags)) or 'none'}")
    there = {path: file for path, file in client.files(repo, commit).items() if path not in SERVER_OWNED}
    small = {
        path: client.read(repo, path, commit) or b"" for path, file in there.items() if file.sha256 is None
    }
    return Published(repo=repo, tag=tag, commit=commit, there=there, small=small)


def check(published: Published) -> Iterator[Check]:
    """Check one repo by itself: sums, names, record, promise."""
    sums = _sums(published)
    wrong = [path for path, digest in sums.items() if published.digest(path) != digest]
    unnamed = set(published.there) - set(sums) - {SUMS_FILE}
    odd = sorted({*wrong, *unnamed})
    yield Check(
        name="every file is the one of SHA256SUMS",
        holds=bool(sums) and not odd,
        found=", ".join(odd[:5]) or f"{len(sums)} files",
    )
    strange = [path for path in sorted(published.there) if not allowlist.allowed(path)]
    yield Check(
        name="loading it runs no file of it",
        holds=not strange,
        found=", ".join(strange[:5]) or "data, text, and serve/ for people",
    )
    record = _record(published)
    said = f"{record.repo} v{record.version}" if record else f"no {RECORD_FILE}"
    yield Check(
        name="the record is of this repo and version",
        holds=said == f"{published.repo} {published.tag}",
        found=said,
    )
    if record:
        made = _promised(published)
        yield Check(
            name="the promised bytes are there",
            holds=made == record.promised.get(record.kind),
            found=f"tree {made[:12]}",
        )


def _sibling(client: Client, published: Published) -> Iterator[Check]:
    record = _record(published)
    if record is None:
        return
    other, tag = record.sibling.repo, f"v{record.sibling.version}"
    _, tags = client.refs(other)
    commit = tags.get(tag)
    data = client.read(other, RECORD_FILE, commit) if commit else None
    found = _parsed(data)
    agrees = found is not None and found.promises(record) and found.sibling.repo == published.repo
    yield Check(
        name="the sibling promises the same", holds=agrees, found=f"{other} {tag if commit else 'has no tag'}"
    )


def _headers(client: Client, published: Published) -> Iterator[Check]:
    """Read the safetensors headers by ranges and compare them with the index."""
    if not any(path.endswith(".safetensors") for path in published.there):
        return
    metadata = client.tensors(published.repo, published.commit)
    index = published.small.get(INDEX)
    named = set(json.loads(index)["weight_map"]) if index else set(metadata)
    yield Check(
        name="the headers hold exactly the tensors of the index",
        holds=named == set(metadata),
        found=f"{len(metadata)} tensors",
    )


def _sums(published: Published) -> dict[str, str]:
    """Parse SHA256SUMS: a line is the digest, two spaces, the path."""
    text = published.small.get(SUMS_FILE, b"").decode(errors="replace")
    lines = (line.partition("  ") for line in text.splitlines())
    return {path: digest for digest, _, path in lines if path}


def _promised(published: Published) -> str:
    """Return the digest of the model files: all but card, evidence and what assemble wrote."""
    model = {
        path: File(published.digest(path) or "", file.size)
        for path, file in published.there.items()
        if path not in (*allowlist.CARD, RECORD_FILE, SUMS_FILE) and not path.startswith("evidence/")
    }
    return Tree(model).digest


def _record(published: Published) -> Record | None:
    return _parsed(published.small.get(RECORD_FILE))


def _parsed(data: bytes | None) -> Record | None:
    try:
        return records.parse(data.decode()) if data else None
    except ValueError:
        return None
