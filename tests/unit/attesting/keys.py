"""Key pairs as openssl makes them, and a small repo that is signed with one."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from release import record
from release.allowlist import ENVELOPE, PROVENANCE, SIGNATURE
from release.attesting import bundles
from release.attesting.statement import Material, Provenance, Ran, dump
from release.digest import File, Tree, sha256_bytes
from release.record import Record, Sibling
from release.signer import KeySigner


@dataclass(frozen=True, slots=True)
class Pair:
    """A private key, and the signer that its public half names."""

    private: Path
    signer: KeySigner


def pair(folder: Path) -> Pair:
    """Make a key pair as the documentation says."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / "signing.key", folder / "signing.pub"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private))
    _openssl("ec", "-in", str(private), "-pubout", "-out", str(public))
    private.chmod(0o600)
    return Pair(private, KeySigner(public))


def files(version: str = "1.0.0") -> dict[str, bytes]:
    """Return the files of a small release tree."""
    model = {"model.safetensors": b"weights", "config.json": b"{}"}
    promised = Tree({path: File(sha256_bytes(data), len(data)) for path, data in model.items()}).digest
    made = Record(
        recipe="tiny",
        version=version,
        kind="nvfp4",
        repo="owner/name",
        sibling=Sibling(repo="owner/master", version=version, tree="2" * 64),
        lock="1" * 64,
        promised={"nvfp4": promised, "master": "2" * 64},
        evidence={"smoke": "3" * 64},
    )
    tree = {
        **model,
        "README.md": b"# card",
        "serve/serve.sh": b"#!/bin/bash",
        "evidence/smoke/evidence.json": b"{}",
        "release.json": record.dump(made).encode(),
    }
    return {**tree, "SHA256SUMS": sums(tree)}


def sums(tree: Mapping[str, bytes]) -> bytes:
    """Return the SHA256SUMS text of files."""
    return "".join(f"{sha256_bytes(data)}  {path}\n" for path, data in sorted(tree.items())).encode()


def provenance(tree: Mapping[str, bytes], repo: str = "owner/name") -> bytes:
    """Return the statement about a tree."""
    return dump(
        Provenance(
            subjects=digests(tree),
            release={
                "recipe": "tiny",
                "version": "1.0.0",
                "kind": "nvfp4",
                "repo": repo,
                "sibling": "owner/master",
            },
            lock="1" * 64,
            engine="local",
            tool="0.1.0",
            materials=(
                Material(
                    name="base",
                    uri="pkg:huggingface/owner/base@" + "a" * 40,
                    digest={"sha256": "4" * 64, "gitCommit": "a" * 40},
                ),
            ),
            steps=(
                Ran(
                    name="quantize",
                    key="5" * 64,
                    tree="6" * 64,
                    engine="local",
                    isolation={"network": "loopback"},
                ),
            ),
        )
    )


def attested(tree: Mapping[str, bytes], key: Path) -> dict[str, bytes]:
    """Return a tree with its provenance and both signatures."""
    statement = provenance(tree)
    whole = {**tree, PROVENANCE: statement, ENVELOPE: bundles.sign_statement(statement, key)}
    return {**whole, SIGNATURE: bundles.sign_files(digests(whole), "owner/name@v1.0.0", key)}


def digests(tree: Mapping[str, bytes]) -> dict[str, str]:
    """Return the sha256 of each file."""
    return {path: sha256_bytes(data) for path, data in tree.items()}


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
