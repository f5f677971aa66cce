"""One repo's history: a bare git repo, holding LFS pointers where files are large.

Objects and refs are written by dulwich, in this process; ``git`` reads them, clones them and
checks them with ``git fsck``. A branch moves by compare-and-swap.
"""

import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from dulwich.graph import find_merge_base
from dulwich.index import commit_tree
from dulwich.object_store import iter_tree_contents
from dulwich.objects import Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from tests.hub_server.wire import RefusedError

LFS_SUFFIXES = "bin ckpt gguf gz h5 model msgpack npy npz onnx parquet pickle pkl pt pth safetensors tar zip"
GIT_ATTRIBUTES = "".join(
    f"*.{s} filter=lfs diff=lfs merge=lfs -text\n" for s in LFS_SUFFIXES.split()
).encode()
LFS_FROM = 10 << 20
"""Bytes from which a file is large whatever its name."""

STALE = "The branch was updated since you opened this page. Please refresh and try again."
FILE_MODE = 0o100644
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a tree. ``oid`` is the git blob's: of the content, or of the pointer."""

    path: str
    oid: str
    size: int
    sha256: str | None = None
    pointer_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a commit does to a path: new content, a pointer, or None to delete it."""

    path: str
    content: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One commit as ``git log`` shows it."""

    oid: str
    parents: tuple[str, ...]
    author: str
    seconds: int
    message: str


class History:
    """A bare git repo. Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._git = Repo(str(path))
        self._lock = threading.RLock()
        self._entries: dict[bytes, Entry] = {}

    @classmethod
    def create(cls, path: Path, author: str) -> "History":
        """Make a repo with the first commit that the Hub makes: its .gitattributes."""
        path.mkdir(parents=True)
        Repo.init_bare(str(path), default_branch=b"main").close()
        history = cls(path)
        change = Change(path=".gitattributes", content=GIT_ATTRIBUTES)
        history.commit("refs/heads/main", [change], "initial commit", author, parent=None)
        return history

    def resolve(self, revision: str) -> str:
        """Return the commit of a branch, tag, ref or commit id. Raises RefusedError."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if (found := self.refs().get(ref)) is not None:
                return found
        if re.fullmatch("[0-9a-f]{40}", revision):
            with self._lock:
                if ObjectID(revision.encode()) in self._git.object_store:
                    return revision
        raise RefusedError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")

    def refs(self) -> Mapping[str, str]:
        """Return every ref with the commit it points at."""
        with self._lock:
            return {
                name.decode(): self._peeled(oid)
                for name, oid in sorted(self._git.refs.as_dict().items())
                if name.startswith(b"refs/")
            }

    def tree(self, commit: str) -> list[Entry]:
        """Return the files of a commit, sorted by path."""
        with self._lock:
            root = self._commit(commit).tree
            return [
                self._entry(item.path.decode(), item.sha)
                for item in iter_tree_contents(self._git.object_store, root)
                if item.path is not None and item.sha is not None
            ]

    def content(self, oid: str) -> bytes:
        """Return a git blob's bytes."""
        with self._lock:
            found = self._git.object_store[ObjectID(oid.encode())]
            assert isinstance(found, Blob)
            return found.data

    def commit(
        self, ref: str, changes: Iterable[Change], message: str, author: str, *, parent: str | None
    ) -> str:
        """Add a commit on ``ref``. Raises RefusedError when the branch is no longer at ``parent``."""
        with self._lock:
            head = self.refs().get(ref)
            if parent is not None and head != parent:
                raise RefusedError(412, STALE)
            return self._move(ref, head, self._changed(head, changes), message, author)

    def merge(self, ref: str, into: str, message: str, author: str) -> str:
        """Merge ``ref`` into ``into``, file by file. Raises RefusedError where both changed a file."""
        with self._lock:
            ours, theirs = self.resolve(into), self.resolve(ref)
            base = find_merge_base(self._git, [ObjectID(ours.encode()), ObjectID(theirs.encode())])
            start = self._oids(base[0].decode()) if base else {}
            here, there = self._oids(ours), self._oids(theirs)
            changed = {path for path in {*start, *there} if start.get(path) != there.get(path)}
            if any(here.get(path) not in (start.get(path), there.get(path)) for path in changed):
                raise RefusedError(409, "This pull request has conflicts with the base branch")
            for path in changed:
                here.pop(path, None)
            here |= {path: there[path] for path in changed if path in there}
            return self._move(into, ours, self._written(here), message, author)

    def log(self, commit: str) -> list[Move]:
        """Return the commits from ``commit`` back to the first."""
        with self._lock:
            found = [entry.commit for entry in self._git.get_walker([ObjectID(commit.encode())])]
        return [
            Move(
                oid=c.id.decode(),
                parents=tuple(parent.decode() for parent in c.parents),
                author=c.author.decode().split(" <")[0],
                seconds=c.commit_time,
                message=c.message.decode(),
            )
            for c in found
        ]

    def point(self, ref: str, commit: str, message: str = "", author: str = "hub") -> None:
        """Make a new ref; with a message, an annotated tag. Raises RefusedError when it is there."""
        with self._lock:
            oid = ObjectID(commit.encode())
            if message:
                oid = self._annotated(ref.split("/", 2)[2], oid, message, author)
            if not self._git.refs.add_if_new(Ref(ref.encode()), oid):
                raise RefusedError(409, f"Reference {ref} already exists")

    def drop(self, ref: str) -> None:
        """Remove a ref. Raises RefusedError when it is not there."""
        with self._lock:
            if ref not in self.refs():
                raise RefusedError(404, f"{ref} does not exist", code="RevisionNotFound")
            del self._git.refs[Ref(ref.encode())]

    def _peeled(self, oid: ObjectID) -> str:
        found = self._git.object_store[oid]
        while isinstance(found, Tag):
            found = self._git.object_store[found.object[1]]
        return found.id.decode()

    def _commit(self, oid: str) -> Commit:
        found = self._git.object_store[ObjectID(oid.encode())]
        if not isinstance(found, Commit):
            raise RefusedError(404, f"Invalid rev id: {oid}", code="RevisionNotFound")
        return found

    def _entry(self, path: str, oid: ObjectID) -> Entry:
        known = self._entries.get(oid)
        if known is None:
            data = self.content(oid.decode())
            known = Entry(path="", oid=oid.decode(), size=len(data))
            if len(data) < 200 and (found := _POINTER.fullmatch(data)):
                known = Entry(
                    path="",
                    oid=oid.decode(),
                    size=int(found[2]),
                    sha256=found[1].decode(),
                    pointer_size=len(data),
                )
            self._entries[oid] = known
        return Entry(
            path=path, oid=known.oid, size=known.size, sha256=known.sha256, pointer_size=known.pointer_size
        )

    def _oids(self, commit: str) -> dict[str, ObjectID]:
        return {entry.path: ObjectID(entry.oid.encode()) for entry in self.tree(commit)}

    def _changed(self, head: str | None, changes: Iterable[Change]) -> ObjectID:
        files = self._oids(head) if head else {}
        for change in changes:
            if change.content is None:
                if files.pop(change.path, None) is None:
                    raise RefusedError(404, "A file with this name doesn't exist", code="EntryNotFound")
                continue
            blob = Blob.from_string(change.content)
            self._git.object_store.add_object(blob)
            files[change.path] = blob.id
        return self._written(files)

    def _written(self, files: Mapping[str, ObjectID]) -> ObjectID:
        listed = [(path.encode(), oid, FILE_MODE) for path, oid in files.items()]
        if not listed:
            self._git.object_store.add_object(empty := Tree())
            return empty.id
        return commit_tree(self._git.object_store, listed)

    def _move(self, ref: str, head: str | None, tree: ObjectID, message: str, author: str) -> str:
        made = Commit()
        made.tree = tree
        made.parents = [ObjectID(head.encode())] if head else []
        made.author = made.committer = f"{author} <{author}@users.noreply.invalid>".encode()
        made.author_time = made.commit_time = int(time.time())
        made.author_timezone = made.commit_timezone = 0
        made.encoding = b"UTF-8"
        made.message = message.encode() + b"\n"
        self._git.object_store.add_object(made)
        name, refs = Ref(ref.encode()), self._git.refs
        old = ObjectID(head.encode()) if head else None
        if not (refs.set_if_equals(name, old, made.id) if old else refs.add_if_new(name, made.id)):
            raise RefusedError(412, STALE)
        return made.id.decode()

    def _annotated(self, name: str, oid: ObjectID, message: str, author: str) -> ObjectID:
        tag = Tag()
        tag.name = name.encode()
        tag.object = (Commit, oid)
        tag.message = message.encode() + b"\n"
        tag.tagger = f"{author} <{author}@users.noreply.invalid>".encode()
        tag.tag_time, tag.tag_timezone = int(time.time()), 0
        self._git.object_store.add_object(tag)
        return tag.id


def pointer(sha256: str, size: int) -> bytes:
    """Return the text that stands in git for a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def is_large(attributes: bytes, path: str, size: int, sample: bytes) -> bool:
    """Tell whether a file goes to LFS: by .gitattributes, by size, or because it is binary."""
    for line in attributes.decode().splitlines():
        pattern, _, rest = line.partition(" ")
        if "filter=lfs" in rest and (fnmatch(path, pattern) or fnmatch(path.rsplit("/", 1)[-1], pattern)):
            return True
    return size > LFS_FROM or b"\0" in sample
