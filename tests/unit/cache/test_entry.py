"""An entry is believed when it is signed, answers for the key asked, and names what was signed."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from release.cache.entry import Entry, RefusedError, dump, dump_manifest, judge, judge_manifest
from release.cache.signing import Trust
from release.derivation import Derivation
from release.digest import File, Tree, sha256_bytes
from tests.unit.cache.builders import signer, trust

SIGNER = signer()
TRUST = trust(SIGNER)
TREE = Tree({"a.txt": File("a" * 64, 1), "deep/b.txt": File("b" * 64, 2)})
DERIVATION = Derivation(
    step="pack", code="c", image=None, params={"ü": 1.5}, inputs={}, platform=None, machine=None
)


def entry(**other: object) -> Entry:
    made = Entry(
        key=DERIVATION.key,
        tree=TREE.digest,
        manifest=sha256_bytes(dump_manifest(TREE)),
        derivation=DERIVATION.to_json(),
        seconds=1.5,
        engine="local",
        isolation={"network": "loopback"},
    )
    return replace(made, **other)  # type: ignore[arg-type]


def read(data: bytes, *, trusted: Trust = TRUST, isolated: bool = False) -> Entry:
    return judge(
        data, DERIVATION.key, lambda sig, text: trusted.verify(SIGNER.name, sig, text), isolated=isolated
    )


def test_a_signed_entry_reads_back() -> None:
    assert read(dump(entry(), SIGNER.sign)) == entry()


@pytest.mark.parametrize("at", [-1, 0, 30, 200])
def test_one_changed_byte_anywhere_is_refused(at: int) -> None:
    data = bytearray(dump(entry(), SIGNER.sign))
    data[at] ^= 1
    with pytest.raises(RefusedError, match="sign"):
        read(bytes(data))


def test_an_entry_without_a_signature_is_refused() -> None:
    _, _, statement = dump(entry(), SIGNER.sign).partition(b"\n")
    for data in (statement, b"\n" + statement, b"", b"graftsmith-cache-entry-1 " + b"z" * 128 + b"\n{}"):
        with pytest.raises(RefusedError, match="not signed"):
            read(data)


def test_the_signature_of_another_is_refused() -> None:
    with pytest.raises(RefusedError, match="not that of its signer"):
        read(dump(entry(), signer().sign))


def test_an_entry_in_another_keys_place_is_refused() -> None:
    other = replace(DERIVATION, code="d")
    data = dump(entry(key=other.key, derivation=other.to_json()), SIGNER.sign)
    with pytest.raises(RefusedError, match="answers for the key"):
        read(data)


def test_an_entry_whose_derivation_is_another_is_refused() -> None:
    with pytest.raises(RefusedError, match="derivation"):
        read(dump(entry(derivation={**DERIVATION.to_json(), "code": "d"}), SIGNER.sign))


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"key": 1}', b"[" * 100_000, b'{"key": "a", "key": "b"}'])
def test_a_signed_text_that_is_no_entry_is_refused(text: bytes) -> None:
    head = b"graftsmith-cache-entry-1"
    data = b"%s %s\n%s" % (head, SIGNER.sign(head + b"\n" + text).hex().encode(), text)
    with pytest.raises(RefusedError):
        read(data)


def test_a_result_without_isolation_is_refused_where_it_is_demanded() -> None:
    data = dump(entry(isolation={"files": "landlock", "network": "none: not allowed"}), SIGNER.sign)
    assert read(data).isolation["files"] == "landlock"
    with pytest.raises(RefusedError, match="without isolation of network"):
        read(data, isolated=True)


def test_a_manifest_other_than_the_signed_one_is_refused() -> None:
    assert judge_manifest(dump_manifest(TREE), entry()) == TREE
    larger = {**TREE.to_json(), "a.txt": {"sha256": "a" * 64, "size": 10**15}}
    with pytest.raises(RefusedError, match="not the one that was signed"):  # sizes are not in the digest
        judge_manifest(json.dumps(larger).encode(), entry())


def file(sha256: object = "a" * 64, size: object = 1) -> Mapping[str, object]:
    return {"sha256": sha256, "size": size}


@pytest.mark.parametrize(
    "files",
    [
        {"../a": file()},
        {"/etc/passwd": file()},
        {"a/../../b": file()},
        {"a\\b": file()},
        {"a\nb": file()},
        {"\ud800": file()},
        {"a": file(sha256="../../../etc/passwd")},
        {"a": file(sha256="A" * 64)},
        {"a": file(size=-1)},
        {"a": file(size="1")},
        {"a": file(), "a/b": file()},
        {"n" * 256: file()},
        [],
    ],
)
def test_a_tree_that_no_folder_should_show_is_refused_though_it_is_signed(files: object) -> None:
    data = json.dumps(files).encode()
    digest = "0" * 64
    if isinstance(files, dict):
        try:
            digest = Tree({path: File(str(f["sha256"]), 1) for path, f in files.items()}).digest
        except ValueError:
            digest = "0" * 64
    with pytest.raises(RefusedError):
        judge_manifest(data, entry(manifest=sha256_bytes(data), tree=digest))


def test_a_manifest_of_another_tree_is_refused_though_it_is_signed() -> None:
    data = dump_manifest(Tree({"a.txt": File("c" * 64, 1)}))
    with pytest.raises(RefusedError, match="that of tree"):
        judge_manifest(data, entry(manifest=sha256_bytes(data)))
