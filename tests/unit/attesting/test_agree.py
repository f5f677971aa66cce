"""What ``invoke verify`` says of signature and provenance, and of those that somebody changed."""

import json
from collections.abc import Mapping

import pytest

from release.allowlist import ENVELOPE, PROVENANCE, SIGNATURE
from release.attesting import bundles
from release.hub.files import RemoteFile
from release.signer import Signer
from release.verifying.checks import Check, attestation
from release.verifying.published import Published
from tests.unit.attesting.keys import Pair, attested, digests, files, provenance

SIGNED = "signed"
FILES = "the signature is of exactly these files"
SLSA = "the provenance is of these files"


def _published(tree: Mapping[str, bytes]) -> Published:
    """Return a repo whose small files the reader has; the weights are known by the Hub's id alone."""
    there = {
        path: RemoteFile(
            size=len(data),
            git_oid="0" * 40,
            sha256=digests({path: data})[path] if path.endswith(".safetensors") else None,
        )
        for path, data in tree.items()
    }
    small = {path: data for path, data in tree.items() if there[path].sha256 is None}
    return Published(repo="owner/name", tag="v1.0.0", commit="c" * 40, there=there, small=small)


def _look(tree: Mapping[str, bytes], signer: Signer | None) -> dict[str, Check]:
    return {found.name: found for found in attestation(_published(tree), signer)}


def _verdicts(tree: Mapping[str, bytes], signer: Signer | None) -> dict[str, bool | None]:
    return {name: found.holds for name, found in _look(tree, signer).items()}


def test_a_signed_release_holds_without_its_weights(ours: Pair) -> None:
    tree = attested(files(), ours.private)
    assert _verdicts(tree, ours.signer) == {FILES: True, SIGNED: True, SLSA: True}


def test_a_signer_who_was_not_asked_about_is_named_and_not_believed(ours: Pair) -> None:
    found = _look(attested(files(), ours.private), None)
    assert found[SIGNED].holds is None
    assert "not checked who signed" in found[SIGNED].found
    assert ours.signer.digest[:16] in found[SIGNED].found
    assert (found[FILES].holds, found[SLSA].holds) == (True, True)


def test_an_unsigned_release_is_called_unsigned(ours: Pair) -> None:
    tree = {**files(), PROVENANCE: provenance(files())}
    assert _verdicts(tree, None) == {SIGNED: None, SLSA: True}
    assert "not signed" in _look(tree, None)[SIGNED].found
    assert _verdicts(tree, ours.signer)[SIGNED] is False, "who expects a signer is not content without"


def test_a_key_that_was_not_expected_is_refused(ours: Pair, theirs: Pair) -> None:
    assert _verdicts(attested(files(), theirs.private), ours.signer) == {
        FILES: False,
        SIGNED: False,
        SLSA: False,
    }


def test_the_signature_of_another_tree_is_refused(ours: Pair) -> None:
    other = attested(files(version="2.0.0"), ours.private)
    tree = {**attested(files(), ours.private), SIGNATURE: other[SIGNATURE]}
    for signer in (None, ours.signer):
        found = _look(tree, signer)[FILES]
        assert found.holds is False
        assert "release.json has other bytes" in found.found


def test_a_hub_id_that_differs_breaks_the_signature(ours: Pair) -> None:
    tree = {**attested(files(), ours.private), "model.safetensors": b"w3ights"}
    found = _look(tree, ours.signer)
    assert "model.safetensors has other bytes" in found[FILES].found
    assert "model.safetensors has other bytes" in found[SLSA].found


@pytest.mark.parametrize("path", ["model.safetensors", "README.md", "SHA256SUMS"])
def test_a_file_that_is_gone_or_added_is_named(path: str, ours: Pair) -> None:
    tree = attested(files(), ours.private)
    gone = {name: data for name, data in tree.items() if name != path}
    assert f"{path} is not there" in _look(gone, ours.signer)[FILES].found
    assert "more.json is not named" in _look({**tree, "more.json": b"{}"}, ours.signer)[FILES].found


def test_a_provenance_that_was_changed_is_refused(ours: Pair) -> None:
    tree = attested(files(), ours.private)
    changed = {**tree, PROVENANCE: tree[PROVENANCE].replace(b"owner/base", b"owner/evil")}
    for signer in (None, ours.signer):
        assert "signs another statement" in _look(changed, signer)[SLSA].found
        assert f"{PROVENANCE} has other bytes" in _look(changed, signer)[FILES].found


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"repo": "owner/name"', b'"repo": "owner/evil"', "is about owner/evil"),
        (b"1" * 64, b"7" * 64, "names lock 777777777777"),
    ],
)
def test_an_unsigned_provenance_of_something_else_is_refused(old: bytes, new: bytes, said: str) -> None:
    tree = {**files(), PROVENANCE: provenance(files()).replace(old, new)}
    found = _look(tree, None)[SLSA]
    assert found.holds is False
    assert said in found.found


def test_an_envelope_of_another_key_is_refused(ours: Pair, theirs: Pair) -> None:
    tree = attested(files(), ours.private)
    tree[ENVELOPE] = bundles.sign_statement(tree[PROVENANCE], theirs.private)
    unsigned = {path: data for path, data in tree.items() if path != SIGNATURE}
    signed = {**unsigned, SIGNATURE: bundles.sign_files(digests(unsigned), "x", ours.private)}
    assert _verdicts(signed, ours.signer) == {FILES: True, SIGNED: True, SLSA: False}


def test_a_signed_release_whose_provenance_was_taken_away_is_refused(ours: Pair) -> None:
    tree = attested(files(), ours.private)
    for path in (PROVENANCE, ENVELOPE):
        found = _look({name: data for name, data in tree.items() if name != path}, None)
        assert found[SLSA].holds is False


def test_junk_in_place_of_a_signature_is_refused_by_anybody() -> None:
    tree = {**files(), SIGNATURE: json.dumps({"dsseEnvelope": {"payload": "e30="}}).encode()}
    assert _verdicts(tree, None)[FILES] is False
