"""Signatures: made from digests alone, read by OpenSSF's own command, refused when they are others'."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from release.allowlist import SIGNATURE
from release.attesting import bundles
from release.errors import ConfigError, MachineError, UsageError
from release.signer import IdentitySigner
from tests.unit.attesting.keys import Pair, attested, digests, files, provenance


def test_what_was_signed_is_every_file(ours: Pair) -> None:
    signed = bundles.sign_files(digests(files()), "owner/name", ours.private)
    assert bundles.open_files(signed, ours.signer) == digests(files())


@pytest.mark.parametrize("more", [[], [".cache/huggingface/x.lock", ".gitattributes"]])
def test_openssf_s_own_command_accepts_a_download(more: list[str], ours: Pair, tmp_path: Path) -> None:
    done = _model_signing(tmp_path, ours, *more)
    assert done.returncode == 0, done.stdout + done.stderr


def test_openssf_s_own_command_refuses_a_file_that_was_added(ours: Pair, tmp_path: Path) -> None:
    assert _model_signing(tmp_path, ours, "extra.json").returncode != 0


def test_another_key_is_refused(ours: Pair, theirs: Pair) -> None:
    signed = bundles.sign_files(digests(files()), "owner/name", theirs.private)
    with pytest.raises(bundles.SignatureError, match="Key mismatch"):
        bundles.open_files(signed, ours.signer)


def test_another_key_that_claims_to_be_ours_is_refused(ours: Pair, theirs: Pair) -> None:
    bundle = json.loads(bundles.sign_files(digests(files()), "owner/name", theirs.private))
    bundle["verificationMaterial"]["publicKey"]["hint"] = ours.signer.digest
    with pytest.raises(bundles.SignatureError):
        bundles.open_files(json.dumps(bundle).encode(), ours.signer)


def test_a_payload_that_was_changed_is_refused(ours: Pair) -> None:
    bundle = json.loads(bundles.sign_files(digests(files()), "owner/name", ours.private))
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"config.json", b"other.json!")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(bundles.SignatureError):
        bundles.open_files(json.dumps(bundle).encode(), ours.signer)


def test_a_signed_statement_is_no_signature_of_files(ours: Pair) -> None:
    envelope = bundles.sign_statement(provenance(files()), ours.private)
    assert json.loads(bundles.open_statement(envelope, ours.signer)) == json.loads(provenance(files()))
    with pytest.raises(bundles.SignatureError, match="Predicate type"):
        bundles.open_files(envelope, ours.signer)


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b'{"dsseEnvelope": 1}', b"\xff"])
def test_junk_is_no_signature(junk: bytes, ours: Pair) -> None:
    with pytest.raises(bundles.SignatureError):
        bundles.open_files(junk, ours.signer)


def test_the_digest_of_a_key_is_what_sha256sum_prints(ours: Pair) -> None:
    assert bundles.public_digest(ours.private) == ours.signer.digest


def test_a_key_that_others_can_read_is_refused(ours: Pair, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(ours.private.read_bytes())
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others") as told:
        bundles.sign_files(digests(files()), "owner/name", key)
    assert "BEGIN" not in str(told.value)


def test_what_is_no_key_is_refused_without_repeating_it(tmp_path: Path) -> None:
    key = tmp_path / "no.key"
    key.write_text("hunter2")
    key.chmod(0o600)
    with pytest.raises(ConfigError, match="expected a private key") as told:
        bundles.public_digest(key)
    assert "hunter2" not in str(told.value)


def test_no_identity_is_told_before_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="vouches for an identity"):
        bundles.sign_files(digests(files()), "owner/name", None)


def test_without_the_extra_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch, ours: Pair) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MachineError, match="uv sync --extra sign"):
        bundles.open_files(b"{}", ours.signer)


def test_a_workflow_s_identity_names_the_tag_of_the_version() -> None:
    signer = IdentitySigner(identity="https://forge/wf.yml@refs/tags/v{version}", issuer="https://issuer")
    assert signer.of("1.2.0").identity == "https://forge/wf.yml@refs/tags/v1.2.0"


def _model_signing(root: Path, ours: Pair, *more: str) -> "subprocess.CompletedProcess[str]":
    folder = root / "download"
    for path, data in {**attested(files(), ours.private), **dict.fromkeys(more, b"{}")}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    command = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", str(folder)]
    command += ["--signature", str(folder / SIGNATURE), "--public_key", str(ours.signer.public_key)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
