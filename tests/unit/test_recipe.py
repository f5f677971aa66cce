"""A recipe is refused when what it says cannot be meant."""

import shutil
from pathlib import Path

import pytest

from release import recipe
from release.errors import ConfigError
from release.line import PROJECT


@pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "-flag", "", "two words"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    # The store keeps folders under it: below a/b the collector would not find the release records.
    shutil.copyfile(PROJECT / "recipes" / "tiny" / "recipe.toml", tmp_path / "recipe.toml")
    text = (tmp_path / "recipe.toml").read_text()
    assert 'name = "tiny"\n' in text
    (tmp_path / "recipe.toml").write_text(text.replace('name = "tiny"\n', f'name = "{name}"\n', 1))
    with pytest.raises(ConfigError, match="name: expected letters"):
        recipe.load(tmp_path)
