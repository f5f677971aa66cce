"""Which files a release may hold: nothing that runs, nothing hidden, nothing unexpected.

allowed("model.safetensors")  # True
allowed("modeling_x.py")      # False
"""

from pathlib import PurePosixPath

SUFFIXES = (".safetensors", ".json", ".jsonl", ".jinja", ".md", ".txt")
PROVENANCE, ENVELOPE, SIGNATURE = "provenance.json", "provenance.sigstore.json", "model.sig"
ATTESTATION = (PROVENANCE, ENVELOPE, SIGNATURE)
"""What is said of a tree once it is fixed: no SHA256SUMS names these, and no two releases differ by them."""

NAMES = ("LICENSE", "NOTICE", "report.html", "SHA256SUMS", SIGNATURE)
PICTURES = ("evidence/prove/ledger.svg",)
"""By their whole path: an SVG may hold a script, and only of this one we know that it does not."""

WHY = f"Only {', '.join(SUFFIXES)} and {', '.join(NAMES)} are published: nothing that can run."


def allowed(path: str) -> bool:
    """Tell whether a release may hold a file of this name."""
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and (path in PICTURES or parts[-1] in NAMES or parts[-1].endswith(SUFFIXES))
