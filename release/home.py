"""Where the project and the store lie."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def default_root() -> Path:
    """Return GRAFTSMITH_STORE, or the user's data folder shared by all clones."""
    named = os.environ.get("GRAFTSMITH_STORE")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(named).absolute() if named else Path(data) / "graftsmith"
