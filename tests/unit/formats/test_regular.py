"""A file of a stranger's folder is opened when it is a file, and refused at once when it is not."""

import os
from pathlib import Path

import pytest

from recipes.formats.regular import open_regular, read_regular


def test_a_file_is_read_and_so_is_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "a", 3) == read_regular(tmp_path / "link", 3) == b"abc"


def test_more_than_is_wanted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with pytest.raises(ValueError, match="a: expected at most 2 bytes, got 3"):
        read_regular(tmp_path / "a", 2)


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular(tmp_path / "pipe")


def test_a_device_does_not_fill_memory() -> None:
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular(Path("/dev/zero"))
