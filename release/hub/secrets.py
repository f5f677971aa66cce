"""Secrets: none is published, and none is printed.

Patterns are the fixed forms that issuers give their tokens, so that a hit is a secret and not
a long word of a tokenizer.
"""

import re

PATTERNS = {
    "a Hugging Face token": r"\bhf_(?:jwt_|oauth_)?[A-Za-z0-9_.-]{30,}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})\b",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "an API key": r"\bsk-(?:proj-|ant-)?[A-Za-z0-9_-]{40,}",
}
_COMPILED = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS.values()))
_SIGNED = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


def found_in(text: str) -> str | None:
    """Name the first kind of secret that ``text`` holds, or return None."""
    return next((name for name, pattern in _COMPILED.items() if pattern.search(text)), None)


def redact(text: str) -> str:
    """Return ``text`` without secrets, and addresses without their signed queries."""
    return _SIGNED.sub(r"\1?…", _ANY.sub("***", text))
