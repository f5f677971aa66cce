"""Which files a release may hold: nothing that loading runs, nothing hidden, nothing unexpected.

allowed("model.safetensors")  # True
allowed("modeling_x.py")      # False
"""

from pathlib import PurePosixPath

from recipes.formats.release_files import FOR_PEOPLE

SUFFIXES = (".safetensors", ".json", ".jsonl", ".jinja", ".md", ".txt")
PROVENANCE, ENVELOPE, SIGNATURE = "provenance.json", "provenance.sigstore.json", "model.sig"
ATTESTATION = (PROVENANCE, ENVELOPE, SIGNATURE)
"""What is said of a tree once it is fixed: no SHA256SUMS names these, and no two releases differ by them."""

NAMES = ("LICENSE", "NOTICE", "report.html", "SHA256SUMS", SIGNATURE)
PICTURES = (
    "evidence/prove/ledger.svg",
    "evidence/report/acceptance-positions.svg",
    "evidence/report/acceptance-domains.svg",
    "evidence/report/throughput.svg",
)
"""By their whole path: an SVG may hold a script, and only of those we draw we know that they do not."""

KIT = (*FOR_PEOPLE, "serve/compose.yml", "serve/vllm.service")
"""By their whole path: shell that people run on purpose, rendered by the card step from its templates."""

CARD = ("README.md", "LICENSE", "NOTICE", *KIT)
"""What the card step writes: neither promised bytes nor evidence."""

WHY = (
    f"Only {', '.join(SUFFIXES)} and {', '.join(NAMES)} are published, and the card's own pictures "
    "and serve/ files: nothing that loading a model runs."
)


def allowed(path: str) -> bool:
    """Tell whether a release may hold a file of this name."""
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and (path in (*PICTURES, *KIT) or parts[-1] in NAMES or parts[-1].endswith(SUFFIXES))
