"""Two small release trees, as assemble leaves them in the store: plain, read-only files."""

import json
from pathlib import Path

from release import record
from release.allowlist import ATTESTATION
from release.digest import File, Tree, sha256_file
from release.hub.transaction import Release, RepoTree
from release.record import Record, Sibling

MASTER = "graftsmith/tiny"
NVFP4 = "graftsmith/tiny-NVFP4-MTP"


def release(
    root: Path,
    *,
    version: str = "1.0.0",
    lock: str = "1" * 64,
    body: str = "w",
    figure: float = 2.6,
    names: tuple[str, str] = (MASTER, NVFP4),
    signature: str = "",
) -> Release:
    """Write both trees below ``root`` and return the release; the master comes first in ``names``.

    With ``signature`` it stands beside both, and in the provenance: no two signings give the same bytes.
    """
    master = _tree(root / "master", "master", names, version, lock, body, figure)
    nvfp4 = _tree(root / "nvfp4", "nvfp4", names[::-1], version, lock, body, figure)
    if signature:
        master, nvfp4 = _signed(master, signature), _signed(nvfp4, signature)
    return Release(version=version, repos=(master, nvfp4))


def _tree(
    root: Path, kind: str, repos: tuple[str, str], version: str, lock: str, body: str, figure: float
) -> RepoTree:
    promised = {"master": f"master {body}", "nvfp4": f"nvfp4 {body}"}
    made = Record(
        recipe="tiny",
        version=version,
        kind=kind,
        repo=repos[0],
        sibling=Sibling(repo=repos[1], version=version, tree="2" * 64),
        lock=lock,
        promised=promised,
        evidence={"smoke-nvfp4": str(figure)},
    )
    _write(root / "model.safetensors", f"{kind} {body}" * 1000)
    _write(root / "mtp.safetensors", f"{kind} {body} head" * 100)
    _write(root / "config.json", json.dumps({"model_type": "qwen3_5"}))
    _write(root / "evidence/smoke-nvfp4/evidence.json", json.dumps({"length": figure}))
    _write(root / "README.md", f"---\nlicense: apache-2.0\n---\nacceptance length {figure}\n")
    _write(root / "release.json", record.dump(made))
    _write(root / "SHA256SUMS", manifest(root).sums())
    return RepoTree(repo=repos[0], root=root, tree=manifest(root))


def _signed(repo: RepoTree, signature: str) -> RepoTree:
    for path in ATTESTATION:
        _write(repo.root / path, json.dumps({path: signature}))
    return RepoTree(repo=repo.repo, root=repo.root, tree=manifest(repo.root))


def manifest(root: Path) -> Tree:
    """Return the tree that a folder holds."""
    files = {
        path.relative_to(root).as_posix(): File(sha256_file(path), path.stat().st_size)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return Tree(files)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o444)
