"""Where a cache lies: a folder or a bucket, never a password.

Example::

    parse("s3://builds/graftsmith")     # Address(bucket=True, path="builds/graftsmith")
    parse("/mnt/shared/graftsmith")     # Address(bucket=False, path="/mnt/shared/graftsmith")
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from release.errors import UsageError

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"([A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*([A-Za-z0-9_=-][A-Za-z0-9._=-]*)?")
CREDENTIALS = re.compile(r"(?<=//)[^/\s]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A folder by its absolute path, or a bucket and what stands before each name in it."""

    bucket: bool
    path: str

    def __str__(self) -> str:
        return f"s3://{self.path}" if self.bucket else self.path


def parse(uri: str) -> Address:
    """Return the address that ``uri`` names.

    Raises UsageError for anything but a folder or ``s3://bucket/prefix``. What was typed is
    not repeated there: it may hold a password.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _folder(uri)
    if "@" in rest or "?" in rest:
        raise UsageError(
            "the URI of the cache holds a user, a password or a query",
            why="A URI ends up in shell histories, process lists and logs.",
            hint="give the S3 client its credentials as it expects them (AWS_PROFILE, AWS_ACCESS_KEY_ID, …)",
        )
    match scheme:
        case "file":
            return _folder(unquote(urlsplit(uri).path))
        case "s3":
            bucket, _, prefix = rest.partition("/")
            if BUCKET.fullmatch(bucket) and PREFIX.fullmatch(prefix):
                return Address(bucket=True, path=f"{bucket}/{prefix}".rstrip("/"))
    raise UsageError(
        "the URI of the cache is neither a folder nor s3://bucket/prefix",
        hint="such as --cache /mnt/shared/graftsmith or --cache s3://builds/graftsmith",
    )


def scrubbed(text: str) -> str:
    """Return an error's text without the user part of any URL in it."""
    return CREDENTIALS.sub("", text)


def _folder(path: str) -> Address:
    if not path:
        raise UsageError("the cache's folder has no name", hint="such as --cache /mnt/shared/graftsmith")
    return Address(bucket=False, path=str(Path(path).expanduser().absolute()))
