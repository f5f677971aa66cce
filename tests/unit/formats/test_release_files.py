"""What would run code where a tree is loaded, and what only people run."""

from pathlib import Path

import pytest

from recipes.formats.release_files import code_in
from release import allowlist


def test_the_files_that_a_release_brings_for_people_are_no_code_of_a_model(tmp_path: Path) -> None:
    for name in (*allowlist.KIT, "README.md", "config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert list(code_in(tmp_path)) == []


@pytest.mark.parametrize("name", ["serve.sh", "serve/other.sh", "serve/serve.py", "modeling_x.py"])
def test_any_other_script_is_code(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    assert list(code_in(tmp_path)) == [f"{name}: code"]
