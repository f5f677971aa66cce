"""The records of a release before it is published: present, and of one mind."""

from pathlib import Path

from release import record as records
from release.allowlist import ATTESTATION
from release.digest import Tree, sha256_bytes
from release.errors import PublishError
from release.record import RECORD_FILE, Record

SUMS_FILE = "SHA256SUMS"


def read(root: Path, tree: Tree) -> Record:
    """Read a tree's record. Raises PublishError when the tree is no release tree."""
    for name in (RECORD_FILE, SUMS_FILE):
        if name not in tree.files:
            raise _unusable(root, f"it has no {name}")
        if sha256_bytes((root / name).read_bytes()) != tree.files[name].sha256:
            raise _unusable(root, f"its {name} is not the one of its manifest")
    beside = (SUMS_FILE, *ATTESTATION)
    rest = Tree({path: file for path, file in tree.files.items() if path not in beside})
    if (root / SUMS_FILE).read_text() != rest.sums():
        raise _unusable(root, f"its {SUMS_FILE} does not name its files")
    try:
        return records.parse((root / RECORD_FILE).read_text())
    except ValueError as error:
        raise _unusable(root, str(error)) from error


def check(found: tuple[Record, ...], version: str, repos: tuple[str, ...]) -> None:
    """Refuse records that are not the two halves of this release. Raises PublishError."""
    for record, repo in zip(found, repos, strict=True):
        if (record.repo, record.version) != (repo, version):
            raise PublishError(
                f"the tree for {repo} v{version} says that it is {record.repo} v{record.version}",
                hint="assemble it again: invoke build --step assemble",
            )
    master, other = found
    if not master.promises(other):
        raise PublishError(f"the two repos of v{version} promise different bytes")
    for record, sibling in ((master, other), (other, master)):
        if (record.sibling.repo, record.sibling.version) != (sibling.repo, sibling.version):
            raise PublishError(
                f"{record.repo} names {record.sibling.repo} as its sibling, not {sibling.repo}"
            )


def _unusable(root: Path, reason: str) -> PublishError:
    return PublishError(
        f"{root} is not a release tree: {reason}", hint="assemble it again: invoke build --step assemble"
    )
