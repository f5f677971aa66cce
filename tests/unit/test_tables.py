"""Files that people write: every error says file, key, expected, got."""

from pathlib import Path

import pytest

from release.errors import ConfigError
from release.tables import read


def table(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "some.toml"
    file.write_text(text)
    return file


def test_malformed_toml_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"some\.toml: expected TOML, got: .*line 1"):
        read(table(tmp_path, "a = = 1"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nb = 'x'", r"some\.toml: a\.b: expected int, got str 'x'"),
        ("[a]\n", r"some\.toml: a\.b: expected int, got nothing"),
        ("[a]\nb = true", r"a\.b: expected int, got bool True"),
        ("a = 1", r"some\.toml: a: expected dict, got int 1"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(table(tmp_path, text)).take_table("a").take("b", int)


def test_a_key_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    top = read(table(tmp_path, "b = 1\ntypo = 2"))
    top.take("b", int)
    with pytest.raises(ConfigError, match="typo"):
        top.done()


def test_an_integer_is_a_float(tmp_path: Path) -> None:
    assert read(table(tmp_path, "t = 1")).take("t", float) == 1.0


def test_rows_are_numbered_in_errors(tmp_path: Path) -> None:
    top = read(table(tmp_path, "[[g]]\nx = 1\n[[g]]\nx = 'no'"))
    with pytest.raises(ConfigError, match=r"g\[1\]\.x: expected int"):
        top.take_rows("g", lambda row: row.take("x", int))
