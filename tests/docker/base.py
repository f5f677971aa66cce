"""A stand-in for a base image that no registry here serves: Debian by mmdebstrap, as an OCI layout.

It takes the place of ``base`` through ``--build-context``, so that Dockerfiles stay as users
run them. This machine's CA bundle is baked in, since wheels may come through a proxy.
"""

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

from release.images import this_platform
from tests.docker import debian

EPOCH = 1750000000
CREATED = "2025-06-15T15:06:40Z"
SUITE = "bookworm"
"""Its Python is 3.11, as is that of the images for a machine without a GPU."""
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = ("doc", "man", "locale")


def layout(root: Path) -> str:
    """Return ``DIR@sha256:...`` of the stand-in below ``root``; made on the first call.

    Raises OSError where packages cannot be had.
    """
    folder = root / "base"
    if not (folder / "index.json").is_file():
        archive = _bootstrap(root)
        _write(folder, archive.read_bytes())
        archive.unlink()
    index = json.loads((folder / "index.json").read_text())
    return f"{folder}@{index['manifests'][0]['digest']}"


def _bootstrap(root: Path) -> Path:
    tool = debian.unpack(root / "mmdebstrap", debian.release(), ("mmdebstrap",))
    archive = root / "base.tar"
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    if BUNDLE.is_file():
        options.append(f'--customize-hook=cp {BUNDLE} "$1{BUNDLE}"')
    command = [
        *(str(tool / "usr/bin/mmdebstrap"), "--quiet", "--mode=root", "--variant=apt"),
        *(f"--include={','.join(PACKAGES)}", "--dpkgopt=force-unsafe-io", *options),
        *('--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"'),
        *(SUITE, str(archive), f"deb [signed-by={debian.KEYRING}] {debian.MIRROR} {SUITE} main"),
    ]
    path = f"{tool / 'usr/bin'}:{os.environ['PATH']}:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "SOURCE_DATE_EPOCH": str(EPOCH)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"mmdebstrap: {done.stderr.strip()[-500:]}")
    return archive


def _write(folder: Path, layer: bytes) -> None:
    """Write an OCI layout with one layer."""
    system, architecture = this_platform().split("/")
    config = {
        "architecture": architecture,
        "os": system,
        "created": CREATED,
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_name(layer)]},
    }
    image = "application/vnd.oci.image"
    packed = _blob(folder, gzip.compress(layer, 1, mtime=0), f"{image}.layer.v1.tar+gzip")
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{image}.manifest.v1+json",
        "config": _blob(folder, json.dumps(config).encode(), f"{image}.config.v1+json"),
        "layers": [packed],
    }
    entry = _blob(folder, json.dumps(manifest).encode(), f"{image}.manifest.v1+json")
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def _blob(folder: Path, data: bytes, kind: str) -> dict[str, str | int]:
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / _name(data).removeprefix("sha256:")).write_bytes(data)
    return {"mediaType": kind, "digest": _name(data), "size": len(data)}


def _name(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
