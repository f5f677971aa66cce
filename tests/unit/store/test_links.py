"""Trees are shown by links; where there are none, by copies that are made once."""

import errno
import os
from pathlib import Path

import pytest

from release.digest import File, sha256_bytes
from release.errors import MachineError
from release.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def digest(store: Store, tmp_path: Path) -> str:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "weights").write_bytes(b"w" * 5000)
    return store.ingest(tmp_path / "source", store.stat_cache.tree(tmp_path / "source"))


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV])
def test_a_file_system_without_links_gets_one_copy(
    store: Store, digest: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, number)
    shown = store.folder(digest, "source") / "weights"
    first = shown.stat()
    assert shown.read_bytes() == b"w" * 5000
    assert first.st_mode & 0o777 == 0o444
    assert first.st_nlink == 1
    again = (Store(store.root).folder(digest, "source") / "weights").stat()
    assert (again.st_ino, again.st_ctime_ns) == (first.st_ino, first.st_ctime_ns), "copied again"


def test_a_copy_that_was_replaced_is_made_again(
    store: Store, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, errno.EPERM)
    shown = store.folder(digest, "source") / "weights"
    shown.unlink()
    shown.write_bytes(b"x" * 5000)
    shown.chmod(0o444)
    assert (store.folder(digest, "source") / "weights").read_bytes() == b"w" * 5000


def test_another_error_than_no_links_is_not_taken_for_one(
    store: Store, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, errno.ENOSPC)
    with pytest.raises(MachineError, match="no space left"):
        store.folder(digest, "source")


def test_an_object_with_all_the_links_it_can_have_is_shown_all_the_same(store: Store, digest: str) -> None:
    weights = store.objects.path(sha256_bytes(b"w" * 5000))
    limit = os.pathconf(weights, "PC_LINK_MAX")
    if limit > 65_000:
        pytest.skip(f"this file system allows {limit} links: too many to make")
    more = store.root / "more"
    more.mkdir()
    for number in range(limit - weights.stat().st_nlink):
        os.link(weights, more / str(number))
    shown = store.folder(digest, "source") / "weights"
    first = shown.stat()
    assert shown.read_bytes() == b"w" * 5000
    assert (store.folder(digest, "source") / "weights").stat().st_ino == first.st_ino
    assert store.objects.has(File(weights.name, 5000))
