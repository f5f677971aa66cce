"""What arrives from elsewhere waits whole, or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from release.digest import File, Tree, hashed, sha256_bytes
from release.store import Store
from release.store.arrivals import Arrivals, WrongBytesError

DATA = b"shard" * 100
FILE = File(sha256_bytes(DATA), len(DATA))
TREE = Tree({"a.bin": FILE, "copy/a.bin": FILE})


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    return Arrivals(tmp_path / "store" / "scratch" / "key" / "arrived")


def nothing(_: int) -> None:
    pass


def test_a_file_is_hashed_once_while_it_is_written(arrivals: Arrivals) -> None:
    before = hashed.bytes
    seen: list[int] = []
    arrivals.receive(FILE, (DATA[:100], DATA[100:]), seen.append)
    assert (hashed.bytes - before, seen) == (len(DATA), [100, len(DATA) - 100])
    assert arrivals.has(FILE)
    assert arrivals.path(FILE).stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b"other" * 100, b""])
def test_wrong_bytes_leave_nothing(arrivals: Arrivals, data: bytes) -> None:
    with pytest.raises(WrongBytesError):
        arrivals.receive(FILE, (data,), nothing)
    assert not list(arrivals.folder.iterdir())


def test_an_endless_answer_is_left_at_the_files_size(arrivals: Arrivals) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(1)
            yield b"x" * 100

    with pytest.raises(WrongBytesError, match="more than 500 bytes"):
        arrivals.receive(FILE, endless(), nothing)
    assert len(sent) == 6


def test_what_a_kill_left_of_a_file_is_written_anew(arrivals: Arrivals) -> None:
    arrivals.folder.mkdir(parents=True)
    left = arrivals.folder / f".{FILE.sha256}.part"
    left.write_bytes(b"half")
    left.chmod(0o444)
    arrivals.receive(FILE, (DATA,), nothing)
    assert arrivals.path(FILE).read_bytes() == DATA
    assert not left.exists()


def test_a_tree_is_admitted_when_its_last_file_is_there(tmp_path: Path, arrivals: Arrivals) -> None:
    store = Store(tmp_path / "store")
    assert store.admit(arrivals, TREE) == (FILE,)
    assert store.tree(TREE.digest) is None
    arrivals.receive(FILE, (DATA,), nothing)
    assert store.admit(arrivals, TREE) == ()
    assert store.tree(TREE.digest) == TREE
    assert not list(arrivals.folder.iterdir()), "a file was copied in, not renamed"
