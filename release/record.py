"""The release record: what a published version is, in one small file of each repo.

Two releases of a version are the same release when their lock and their promised bytes
are equal. Evidence is named here by digest, yet stands outside that comparison: measuring
again on another day or machine gives other figures for the same release.

    {"format": 1, "recipe": "tiny", "version": "1.0.0", "kind": "nvfp4", "repo": "owner/name",
     "sibling": {"repo": "owner/other", "version": "1.0.0", "tree": "<digest>"},
     "lock": "<digest>", "promised": {"master": "<digest>", "nvfp4": "<digest>"},
     "evidence": {"smoke-nvfp4": "<digest>"}}
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from release.digest import Json

RECORD_FILE = "release.json"
FORMAT = 1
KINDS = ("master", "nvfp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """The other repo of a release, named by version and tree digest, never by commit."""

    repo: str
    version: str
    tree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one repo of a release is. Digests are hex sha256."""

    recipe: str
    version: str
    kind: str
    repo: str
    sibling: Sibling
    lock: str
    promised: Mapping[str, str]
    evidence: Mapping[str, str]

    def promises(self, other: "Record") -> bool:
        """Tell whether both records promise the same bytes from the same lock."""
        return self.lock == other.lock and dict(self.promised) == dict(other.promised)

    def differences(self, other: "Record") -> tuple[str, ...]:
        """Name what differs in the promise, for the message of a conflict."""
        named = [("lock", self.lock, other.lock)] if self.lock != other.lock else []
        for name in sorted({*self.promised, *other.promised}):
            here, there = self.promised.get(name, "nothing"), other.promised.get(name, "nothing")
            named += [(f"promised {name}", here, there)] if here != there else []
        return tuple(f"{what}: {here[:12]} here, {there[:12]} released" for what, here, there in named)


def dump(record: Record) -> str:
    """Return the record as JSON text with sorted keys and a final newline."""
    return json.dumps({"format": FORMAT, **asdict(record)}, indent=1, sort_keys=True) + "\n"


def parse(text: str) -> Record:
    """Parse a record. Raises ValueError with the key, what was expected and what was found."""
    data: Json = json.loads(text)
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise ValueError(f"{RECORD_FILE}: expected format {FORMAT}")
    return _from_json(data)


def _from_json(data: Mapping[str, Json]) -> Record:
    if _string(data, "kind") not in KINDS:
        raise ValueError(f"{RECORD_FILE}: kind: expected one of {KINDS}, got {data['kind']!r}")
    sibling = data.get("sibling")
    if not isinstance(sibling, dict):
        raise ValueError(f"{RECORD_FILE}: sibling: expected a table")
    return Record(
        recipe=_string(data, "recipe"),
        version=_string(data, "version"),
        kind=_string(data, "kind"),
        repo=_string(data, "repo"),
        sibling=Sibling(
            repo=_string(sibling, "repo"),
            version=_string(sibling, "version"),
            tree=_string(sibling, "tree"),
        ),
        lock=_string(data, "lock"),
        promised=_digests(data, "promised"),
        evidence=_digests(data, "evidence"),
    )


def _string(data: Mapping[str, Json], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{RECORD_FILE}: {key}: expected text, got {value!r}")
    return value


def _digests(data: Mapping[str, Json], key: str) -> dict[str, str]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{RECORD_FILE}: {key}: expected a table, got {value!r}")
    return {name: _string(value, name) for name in sorted(value)}
