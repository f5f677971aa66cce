"""How a recipe says how its trees are served: read and checked before anything is built."""

import shutil
from pathlib import Path

import pytest

from release.errors import ConfigError
from release.recipe import load

PROJECT = Path(__file__).resolve().parents[2]


def changed(root: Path, old: str, new: str) -> Path:
    """Copy the tiny recipe with ``old`` replaced by ``new``; return its folder."""
    shutil.copytree(PROJECT / "recipes" / "tiny", root / "tiny")
    file = root / "tiny" / "recipe.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return root / "tiny"


def test_a_tree_may_take_a_profile_of_the_project_and_change_it(tmp_path: Path) -> None:
    folder = changed(
        tmp_path, "[serve.master]", '[serve.master]\nprofile = "gb10_baseline"\nmax_num_seqs = 4'
    )
    served = load(folder).serve_master
    assert served["attention_backend"] == "TRITON_ATTN"
    assert served["max_num_seqs"] == 4
    assert served["max_model_len"] == 8192, "a named profile stands above what both trees share"
    assert served["prefix_caching"] is False


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("[serve.master]\nkv_cache_dtyp = 3", "serve.master: unknown key: kv_cache_dtyp"),
        ('[serve.master]\nprofile = "gb11"', "serve.master.profile: expected gb10_baseline or gb10_cautious"),
        ("[serve.master]\nmax_num_batched_tokens = 40", "max_num_batched_tokens: expected at least 48"),
    ],
)
def test_a_profile_written_wrongly_says_what_is_wrong(tmp_path: Path, new: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(changed(tmp_path, "[serve.master]", new))
