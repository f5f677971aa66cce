"""Fetching a path source: its bytes are hashed once, its progress is told, a kill loses one file."""

import ctypes
import errno
import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from release import digest
from release.digest import File, Tree
from release.errors import BuildError, ConfigError, MachineError
from release.store import Store
from release.store import objects as objects_module

SIZE = 3_000_000
NAMES = ("one", "three", "two")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode() * (SIZE // len(name)))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def without_reflinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_module, "FICLONE", 0)


def test_each_byte_of_a_source_is_hashed_once(store: Store, source: Path) -> None:
    before = digest.hashed.bytes
    tree = store.stat_cache.tree(source)
    store.ingest(source, tree)
    assert digest.hashed.bytes - before == tree.size


def test_a_source_of_another_run_is_hashed_while_it_is_copied(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_reflinks(monkeypatch)
    tree = Store(store.root / "other").stat_cache.tree(source)
    before = digest.hashed.bytes
    store.ingest(source, tree)
    assert digest.hashed.bytes - before == tree.size


@pytest.mark.parametrize("known", [True, False])
def test_progress_is_told_in_bytes_and_ends_at_all(
    store: Store, source: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_reflinks(monkeypatch)
    monkeypatch.setattr(objects_module, "SPAN", 1 << 20)
    cache = store.stat_cache if known else Store(store.root / "other").stat_cache
    tree, told = cache.tree(source), list[int]()
    store.ingest(source, tree, told.append)
    assert sum(told) == tree.size
    assert len(told) > len(NAMES), "a large file says something on the way"


def test_a_killed_fetch_does_not_copy_again_what_is_in(store: Store, source: Path) -> None:
    tree = store.stat_cache.tree(source)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_die_in_the_last_file, args=(store, source, tree))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    there = {path.name: path.stat().st_ino for path in (store.root / "objects").glob("*/*")}
    assert len(there) == len(NAMES) - 1
    assert store.lacks(tree) == tree.files["two"].size
    store.ingest(source, tree)
    after = {path.name: path.stat().st_ino for path in (store.root / "objects").glob("*/*")}
    assert after.items() > there.items()
    assert not [path for path in (store.root / "objects").iterdir() if path.is_file()], "a part was left"


def _die_in_the_last_file(store: Store, source: Path, tree: Tree) -> None:
    objects_module.FICLONE = 0
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        if done == tree.size:
            os.kill(os.getpid(), signal.SIGKILL)

    store.ingest(source, tree, read)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize("change", [append, rewrite])
@pytest.mark.parametrize("known", [True, False])
def test_a_source_that_changes_while_it_is_copied_is_refused(
    store: Store, source: Path, change: Callable[[Path], None], known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_reflinks(monkeypatch)
    cache = store.stat_cache if known else Store(store.root / "other").stat_cache
    tree = cache.tree(source)
    changed = False

    def read(_: int) -> None:
        nonlocal changed
        if not changed:
            changed = True
            change(source / "one")
            change(source / "two")

    with pytest.raises(BuildError, match="changed while it was read"):
        store.ingest(source, tree, read)
    assert store.tree(tree.digest) is None


def test_a_source_that_goes_away_while_it_is_copied_is_told_as_changed(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_reflinks(monkeypatch)
    tree = store.stat_cache.tree(source)
    with pytest.raises(BuildError, match="two changed while it was read"):
        store.ingest(source, tree, lambda _: (source / "two").unlink(missing_ok=True))


def test_a_copy_that_fails_leaves_no_part_on_a_full_disk(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_reflinks(monkeypatch)
    tree = store.stat_cache.tree(source)

    def full(count: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(MachineError, match="no space left"):
        store.ingest(source, tree, full)
    assert not list((store.root / "objects").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_source_that_cannot_be_read_is_named(store: Store, source: Path) -> None:
    (source / "two").chmod(0)
    with pytest.raises(ConfigError, match="two: Permission denied"):
        store.stat_cache.tree(source)


def test_a_name_that_is_not_utf8_is_refused(store: Store, source: Path) -> None:
    (source / os.fsdecode(b"caf\xe9")).write_text("x")
    with pytest.raises(ConfigError, match="plain relative path"):
        store.stat_cache.tree(source)


def test_two_fetches_at_once_copy_once(store: Store, source: Path) -> None:
    tree = store.stat_cache.tree(source)
    store.stat_cache.save()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_fetch, args=(store.root, source, tree)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert Store(store.root).tree(tree.digest) == tree


def _fetch(root: Path, source: Path, tree: Tree) -> None:
    Store(root).ingest(source, tree)


def test_a_file_written_twice_within_one_tick_is_seen(store: Store, source: Path) -> None:
    # Kernels stamp by a clock of up to 10 ms: the cache waits until a next write must show.
    for _ in range(20):
        (source / "one").write_bytes(b"a")
        first = store.stat_cache.tree(source).files["one"]
        (source / "one").write_bytes(b"b")
        assert store.stat_cache.tree(source).files["one"] != first


def test_two_caches_that_save_keep_each_others_digests(store: Store, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x")
    one, two = Store(store.root).stat_cache, Store(store.root).stat_cache
    one.tree(source)
    two.tree(other)
    one.save()
    two.save()
    again = Store(store.root).stat_cache
    again.tree(source)
    again.tree(other)
    assert again.read == 0


def test_a_cache_forgets_what_is_gone(store: Store, source: Path) -> None:
    store.stat_cache.tree(source)
    store.stat_cache.save()
    (source / "one").unlink()
    (source / "new").write_text("new")
    store.stat_cache.tree(source)
    store.stat_cache.save()
    text = (store.root / "cache" / "stat.json").read_text()
    assert str(source / "one") not in text
    assert str(source / "two") in text


def test_a_cache_that_cannot_be_written_is_only_slower(store: Store, source: Path) -> None:
    store.root.mkdir()
    (store.root / "cache").write_text("a file where the folder should be")
    tree = store.stat_cache.tree(source)
    store.stat_cache.save()
    assert store.stat_cache.tree(source) == tree


def test_adopted_files_are_hashed_once_and_in_order(store: Store, tmp_path: Path) -> None:
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}")
        paths[-1].write_bytes(bytes([number]) * (SIZE - number))
    wanted = [File(digest.sha256_bytes(path.read_bytes()), path.stat().st_size) for path in paths]
    before = digest.hashed.bytes
    assert store.objects.adopt_all(paths) == wanted
    assert digest.hashed.bytes - before == sum(file.size for file in wanted)
    assert not any(path.exists() for path in paths)


def test_hashing_drops_what_it_read_from_the_page_cache(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    for path in (ours, other):
        path.write_bytes(b"w" * (8 << 20))
        with path.open("rb") as file:
            os.fsync(file.fileno())
    with other.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(other):
        pytest.skip("this file system keeps its pages whatever one says")
    digest.sha256_file(ours)
    assert resident(ours) == 0


def resident(path: Path) -> int:
    """Return the pages of a file that are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    size = ctypes.c_size_t(path.stat().st_size)
    pages = (ctypes.c_ubyte * -(-path.stat().st_size // mmap.PAGESIZE))()
    with path.open("rb") as file:
        address = ctypes.c_void_p(
            libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
        )
        assert libc.mincore(address, size, pages) == 0
        libc.munmap(address, size)
    return sum(page & 1 for page in pages)
