"""Entries: what a signer says about one key, and what of it is believed (pure).

An entry is one line with a signature, and the statement that was signed::

    graftsmith-cache-entry-1 6d1f…(128 hex digits)
    {"derivation": …, "key": "41f0…", "manifest": "9c2a…", "tree": "77be…", …}

The signature is checked before anything is parsed. The statement names its key, so an
entry in another key's place is refused; and the sha256 of the manifest, so that names and
sizes are signed as well as digests are.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from recipes.formats.strict_json import loads, loads_table
from release.digest import File, Tree, canonical_json, sha256_bytes

VERSION = "v1"
MAGIC = b"graftsmith-cache-entry-1"
SIGNATURE_HEX = 128
NAME_BYTES = 255
"""What file systems allow for one part of a path."""

Verify = Callable[[bytes, bytes], bool]
"""(signature, message) → whether the signer signed it."""


class RefusedError(Exception):
    """What a cache answered is not believed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a key gave: its tree, the sha256 of that tree's manifest, and facts about the run."""

    key: str
    tree: str
    manifest: str
    derivation: Mapping[str, object]
    seconds: float
    engine: str
    isolation: Mapping[str, str]


def entry_name(key: str, signer: str) -> str:
    """Return where the entry of a signer for a key lies."""
    return f"{VERSION}/realizations/{key}/{signer}"


def manifest_name(tree: str) -> str:
    """Return where the manifest of a tree lies."""
    return f"{VERSION}/trees/{tree}.json"


def object_name(file: File) -> str:
    """Return where an object lies."""
    return f"{VERSION}/objects/{file.sha256[:2]}/{file.sha256}"


def dump(entry: Entry, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the bytes of an entry, signed."""
    statement = canonical_json({item.name: getattr(entry, item.name) for item in fields(entry)})
    return b"%s %s\n%s" % (MAGIC, sign(_message(statement)).hex().encode(), statement)


def judge(data: bytes, key: str, verify: Verify, *, isolated: bool) -> Entry:
    """Return the entry that ``data`` is, when it answers for ``key``.

    ``isolated`` demands that the step was built with all isolation. Raises RefusedError.
    """
    head, _, statement = data.partition(b"\n")
    magic, _, signature = head.partition(b" ")
    if magic != MAGIC or len(signature) != SIGNATURE_HEX:
        raise RefusedError("it is not signed")
    try:
        raw = bytes.fromhex(signature.decode("ascii"))
    except ValueError as error:
        raise RefusedError("it is not signed") from error
    if not verify(raw, _message(statement)):
        raise RefusedError("its signature is not that of its signer")
    entry = _parse(statement)
    if entry.key != key:
        raise RefusedError(f"it answers for the key {entry.key[:8]}")
    if sha256_bytes(canonical_json(entry.derivation)) != entry.key:
        raise RefusedError("its derivation does not have its key")
    lacking = sorted(kind for kind, how in entry.isolation.items() if how.startswith("none"))
    if isolated and lacking:
        raise RefusedError(f"it was built without isolation of {', '.join(lacking)}")
    return entry


def dump_manifest(tree: Tree) -> bytes:
    """Return the manifest of a tree: one text for one tree."""
    return json.dumps(tree.to_json(), indent=1, sort_keys=True).encode() + b"\n"


def judge_manifest(data: bytes, entry: Entry) -> Tree:
    """Return the tree that ``data`` describes, when it is the one that ``entry`` names.

    Raises RefusedError also for a tree that no folder can show.
    """
    if sha256_bytes(data) != entry.manifest:
        raise RefusedError(f"the manifest of tree {entry.tree[:8]} is not the one that was signed")
    try:
        tree = Tree.from_json(loads(data, "manifest"))
        digest = tree.digest
    except ValueError as error:
        raise RefusedError(f"the manifest of tree {entry.tree[:8]} does not read: {error}") from error
    if digest != entry.tree:
        raise RefusedError(f"the manifest is that of tree {digest[:8]}, not of {entry.tree[:8]}")
    for path in tree.files:
        parts = path.split("/")
        if any(len(part.encode()) > NAME_BYTES for part in parts):
            raise RefusedError(f"the tree has a name of more than {NAME_BYTES} bytes")
        if any("/".join(parts[:depth]) in tree.files for depth in range(1, len(parts))):
            raise RefusedError(f"in the tree, {path} lies below a file")
    return tree


def _message(statement: bytes) -> bytes:
    return MAGIC + b"\n" + statement


def _parse(statement: bytes) -> Entry:
    try:
        data = loads_table(statement, "entry")
    except ValueError as error:
        raise RefusedError(f"it does not read: {error}") from error
    match data:
        case {
            "key": str(key),
            "tree": str(tree),
            "manifest": str(manifest),
            "derivation": dict(derivation),
            "seconds": int() | float() as seconds,
            "engine": str(engine),
            "isolation": dict(isolation),
        }:
            return Entry(
                key=key,
                tree=tree,
                manifest=manifest,
                derivation=derivation,
                seconds=float(seconds),
                engine=engine,
                isolation={str(kind): str(how) for kind, how in isolation.items()},
            )
    raise RefusedError("it lacks a field, or has one of another type")
