"""The profiles of recipes/profiles, and a small one that a test may change."""

import tomllib
from pathlib import Path

from recipes.formats.params import Table
from recipes.formats.serving.profile import Serve, parse_serve

PROJECT = Path(__file__).resolve().parents[4]
PROFILES = sorted((PROJECT / "recipes" / "profiles").glob("*.toml"))

SMALL: dict[str, object] = {
    "max_model_len": 1024,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 2048,
    "kv_cache_bytes": 1 << 28,
    "speculative_tokens": 2,
    "enforce_eager": True,
    "language_model_only": True,
    "prefix_caching": False,
}


def small(**changes: object) -> Serve:
    """Return the small profile with ``changes``."""
    return parse_serve(Table("serve", {**SMALL, **changes}))


def named(name: str) -> Serve:
    """Return the profile called ``name``."""
    file = PROJECT / "recipes" / "profiles" / f"{name}.toml"
    return parse_serve(Table(file.name, tomllib.loads(file.read_text())))
