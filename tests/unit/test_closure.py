"""The code of a step is what it imports, and nothing else."""

from pathlib import Path

import pytest

from release import closure
from release.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "recipes/__init__.py": "",
        "recipes/formats/__init__.py": "",
        "recipes/formats/step.py": "import json\n",
        "recipes/formats/used.py": "from recipes.formats import deep\n",
        "recipes/formats/deep.py": "",
        "recipes/formats/unused.py": "",
        "recipes/steps/__init__.py": "",
        "recipes/steps/do/__init__.py": "",
        "recipes/steps/do/main.py": "import torch\ndef main():\n    from recipes.formats import used\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_the_closure_follows_imports_wherever_they_stand(project: Path) -> None:
    assert sorted(closure.of_step(project, "do").files) == [
        "__main__.py",
        "recipes/__init__.py",
        "recipes/formats/__init__.py",
        "recipes/formats/deep.py",
        "recipes/formats/step.py",
        "recipes/formats/used.py",
        "recipes/steps/__init__.py",
        "recipes/steps/do/__init__.py",
        "recipes/steps/do/main.py",
    ]


def test_only_files_of_the_closure_change_the_digest(project: Path) -> None:
    before = closure.of_step(project, "do").tree.digest
    (project / "recipes/formats/unused.py").write_text("x = 1")
    closure._read.cache_clear()
    assert closure.of_step(project, "do").tree.digest == before
    (project / "recipes/formats/deep.py").write_text("x = 1")
    closure._read.cache_clear()
    assert closure.of_step(project, "do").tree.digest != before


@pytest.mark.parametrize(
    "text",
    ["import importlib\n", "from . import x\n", "__import__('os')\n", "from importlib import resources\n"],
)
def test_an_import_that_cannot_be_followed_is_refused(project: Path, text: str) -> None:
    (project / "recipes/formats/used.py").write_text(text)
    closure._read.cache_clear()
    with pytest.raises(ConfigError, match=r"used\.py:1"):
        closure.of_step(project, "do")


def test_an_unknown_step_is_a_clear_error(project: Path) -> None:
    with pytest.raises(ConfigError, match="step nothing: no module"):
        closure.of_step(project, "nothing")
