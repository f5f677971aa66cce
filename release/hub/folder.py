"""A Hub that is a folder: ``<root>/<owner>/<name>/v<version>/`` holds exactly one release tree.

A version's folder appears by one rename, holds plain read-only files and loads with
``from_pretrained``. Files of the store are hard-linked where they are read-only and on the
same filesystem: a writable file could change under its published name, so it is copied.

A release that is staged waits complete in its hidden folder, which loads as well, until it is
promoted: then the hidden folder gets its name, when it still holds exactly what was staged.

    <root>/.lock                             held while somebody publishes
    <root>/<owner>/<name>/.incoming-v1.0.0/  what is staged; invisible to readers of v*
    <root>/<owner>/<master>/.publishing-v1.0.0.json  the journal, until both names stand
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from release import record as records
from release.allowlist import SIGNATURE
from release.digest import sha256_bytes, sha256_file
from release.errors import ConflictError, MachineError, PublishError, UsageError
from release.hub import journal
from release.hub.record import SUMS_FILE
from release.hub.transaction import Published, Release, RepoTree, Way
from release.record import RECORD_FILE, Record
from release.reponame import RepoName
from release.store import durable
from release.store.locks import KeyLock
from release.store.trace import Kind, point

SMALL = 1_000_000
"""Bytes below which a linked file is hashed again after writing."""

_UNLINKABLE = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}


@dataclass(frozen=True, slots=True)
class FolderHub:
    """A folder of releases."""

    root: Path

    @contextmanager
    def begin(self, release: Release, way: Way) -> Iterator["FolderTransaction"]:
        """Lock the folder for one publish."""
        self.root.mkdir(parents=True, exist_ok=True)
        with KeyLock(self.root / ".lock"):
            yield FolderTransaction.of(self, release, way)

    def path(self, repo: str, version: str) -> Path:
        """Return where ``repo`` stands at ``version``, whether it is there or not."""
        import semver  # not before somebody publishes

        name = RepoName.parse(repo)
        if not semver.Version.is_valid(version):
            raise UsageError(f"{version!r} is not a version", hint="write it like 1.0.0")
        return self.root / name.owner / name.name / f"v{version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTransaction:
    """One publish to a folder; its journal stands until both names stand."""

    root: Path
    journal_file: Path
    release: Release
    way: Way
    repos: tuple["FolderRepo", ...]

    @classmethod
    def of(cls, hub: FolderHub, release: Release, way: Way) -> "FolderTransaction":
        """Return the transaction, which continues the one of an unfinished journal."""
        first = hub.path(release.repos[0].repo, release.version)
        journal_file = first.with_name(f".publishing-{first.name}.json")
        before = journal.read(journal_file)
        repos = tuple(
            FolderRepo(
                source=repo,
                visible=hub.path(repo.repo, release.version),
                adopt=before is not None and before.digest(repo.repo) == repo.tree.digest,
            )
            for repo in release.repos
        )
        return cls(root=hub.root, journal_file=journal_file, release=release, way=way, repos=repos)

    def prepare(self) -> None:
        """Refuse a disk that is too small, then write the journal; what is promoted must be staged."""
        if self.way is Way.PROMOTE:
            for repo in self.repos:
                if repo.find() is None:
                    repo.require_staged(self.release.version)
            return
        need = sum(repo.need() for repo in self.repos if repo.find() is None)
        free = shutil.disk_usage(self.root).free
        if need > free:
            raise MachineError(
                f"publishing to {self.root} needs {need:,} bytes, {free:,} are free",
                why="The store is on another filesystem, so the files are copied.",
                hint="free some space, or put the hub folder on the store's filesystem",
            )
        repos = sorted((repo.repo, repo.tree.digest) for repo in self.release.repos)
        journal.write(self.journal_file, journal.Journal(version=self.release.version, repos=tuple(repos)))

    def finish(self) -> None:
        """Remove the journal."""
        if self.journal_file.exists():
            journal.close(self.journal_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRepo:
    """One repo of a publish to a folder."""

    source: RepoTree
    visible: Path
    adopt: bool

    @property
    def incoming(self) -> Path:
        """The hidden folder in which the version is put together."""
        return self.visible.with_name(f".incoming-{self.visible.name}")

    def find(self) -> Record | None:
        """Return the visible record. Raises ConflictError when something else stands there."""
        return _read_visible(self.visible)

    def require_staged(self, version: str) -> None:
        """Raise PublishError when the hidden folder does not hold exactly the release's files."""
        hidden = self.incoming
        here = {path.relative_to(hidden).as_posix() for path in hidden.rglob("*") if not path.is_dir()}
        odd = sorted(here ^ set(self.source.tree.files) | {path for path in here if not self._staged(path)})
        if not self.adopt or odd:
            what = f"holds something else: {', '.join(odd[:5])}" if here and odd else "is not staged"
            raise PublishError(
                f"{self.source.repo} v{version} {what}",
                why="Nothing was promoted.",
                hint=f"stage it with: invoke release --version {version} --stage",
            )

    def need(self) -> int:
        """Return the bytes that staging will copy."""
        return sum(
            file.size
            for path, file in self.source.tree.files.items()
            if not self._staged(path) and not self._linkable(path)
        )

    def stage(self) -> None:
        """Link or copy every file into the hidden folder, keeping what is complete there."""
        if not self.adopt and self.incoming.exists():
            durable.remove(self.incoming)
        self.incoming.mkdir(parents=True, exist_ok=True)
        self._drop_strays()
        for path in sorted(self.source.tree.files):
            if not self._staged(path):
                self._place(path)

    def commit(self) -> None:
        """Flush every folder of the staged tree; its files were flushed as they were written."""
        for folder, _, _ in os.walk(self.incoming):
            durable.sync_folder(Path(folder))

    def verify(self) -> None:
        """Compare sizes, and the digests of small and of copied files, with the manifest."""
        for path, file in self.source.tree.files.items():
            written = self.incoming / path
            size = written.stat().st_size
            linked = written.samefile(self.source.root / path)
            right = size == file.size and ((linked and size >= SMALL) or sha256_file(written) == file.sha256)
            if not right:
                written.unlink()
                raise PublishError(
                    f"{self.source.repo}: {path} is not what was meant to be published",
                    why=f"Expected {file.size} bytes with sha256 {file.sha256}; readers see nothing of it.",
                    hint="check the store with: invoke store.verify; then run the same command again",
                )

    def tag(self) -> None:
        """Rename the hidden folder to the version's name."""
        durable.rename(self.incoming, self.visible)

    def published(self) -> Published:
        """Return the folder that readers load from; the hidden one while it is staged."""
        where = self.visible if self.visible.exists() else self.incoming
        return Published(
            repo=self.source.repo,
            where=str(where),
            sums=sha256_bytes((where / SUMS_FILE).read_bytes()),
            signed=(where / SIGNATURE).is_file(),
        )

    def _staged(self, path: str) -> bool:
        staged = self.incoming / path
        meant = self.source.tree.files.get(path)
        return bool(self.adopt and meant and staged.is_file() and staged.stat().st_size == meant.size)

    def _linkable(self, path: str) -> bool:
        found = (self.source.root / path).stat()
        home = next(folder for folder in self.visible.parents if folder.exists())
        return found.st_mode & 0o222 == 0 and found.st_dev == home.stat().st_dev

    def _drop_strays(self) -> None:
        for folder, _, names in os.walk(self.incoming):
            for name in names:
                found = Path(folder) / name
                if found.relative_to(self.incoming).as_posix() not in self.source.tree.files:
                    durable.remove(found)

    def _place(self, path: str) -> None:
        source, target = self.source.root / path, self.incoming / path
        if not stat.S_ISREG(source.lstat().st_mode):
            raise PublishError(f"{source} is not a plain file", why="A release holds plain files only.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with durable.full_disk_is_clear(target):
            if not (self._linkable(path) and _link(source, target)):
                _copy(source, target)


def released(hub: FolderHub, version: str, repos: tuple[str, str]) -> Record | None:
    """Return the first repo's record when both repos stand at ``version``, else None."""
    first, second = (_read_visible(hub.path(repo, version)) for repo in repos)
    return first if first and second and first.promises(second) else None


def _read_visible(folder: Path) -> Record | None:
    if not os.path.lexists(folder):
        return None
    try:
        return records.parse((folder / RECORD_FILE).read_text())
    except (OSError, ValueError) as error:
        raise ConflictError(
            f"{folder} is there and is no release: {error}",
            why="What stands under a version's name is never overwritten.",
            hint="look at it and move it away, or release under a new version",
        ) from error


def _link(source: Path, target: Path) -> bool:
    try:
        durable.remove(target)
        with point(Kind.LINK, target):
            target.hardlink_to(source)
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    return True


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.part")
    partial.unlink(missing_ok=True)
    shutil.copyfile(source, partial)
    partial.chmod(0o444)
    durable.sync_file(partial)
    durable.rename(partial, target)
