"""Reads an OCI archive as BuildKit writes it: digests, architecture, layers. Nothing is unpacked."""

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from release.errors import BuildError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What an archive holds: one image."""

    digest: str
    config: str
    platform: str
    created: str
    environment: tuple[str, ...]
    history: tuple[str, ...]
    diff_ids: tuple[str, ...]
    layers: tuple[str, ...]
    size: int


def read(archive: Path) -> Layout:
    """Read an archive of one image. Raises BuildError when it is not one."""
    try:
        with tarfile.open(archive) as tar:
            return _read(tar)
    except (tarfile.TarError, KeyError, ValueError, TypeError, IndexError) as error:
        raise BuildError(f"{archive}: expected an OCI archive of one image, got: {error}") from error


def _read(tar: tarfile.TarFile) -> Layout:
    match json.loads(_bytes(tar, "index.json")):
        case {"manifests": [{"digest": str(digest)}]}:
            pass
        case found:
            raise ValueError(f"expected one manifest in index.json, got {str(found)[:200]}")
    match _blob(tar, digest):
        case {"config": {"digest": str(config)}, "layers": [*layers]}:
            pass
        case found:
            raise ValueError(f"expected a manifest of one image, got {str(found)[:200]}")
    match _blob(tar, config):
        case {"os": str(system), "architecture": str(architecture), "rootfs": {"diff_ids": [*ids]}, **rest}:
            return Layout(
                digest=digest,
                config=config,
                platform=f"{system}/{architecture}",
                created=str(rest.get("created", "")),
                environment=_environment(rest.get("config")),
                history=_history(rest.get("history")),
                diff_ids=tuple(map(str, ids)),
                layers=tuple(str(layer["mediaType"]) for layer in layers),
                size=sum(int(layer["size"]) for layer in layers),
            )
    raise ValueError(f"{config} is no image's configuration")


def _environment(config: object) -> tuple[str, ...]:
    match config:
        case {"Env": [*entries]}:
            return tuple(map(str, entries))
    return ()


def _history(rows: object) -> tuple[str, ...]:
    return tuple(str(row.get("created_by", "")) for row in rows) if isinstance(rows, list) else ()


def _blob(tar: tarfile.TarFile, digest: str) -> object:
    data = _bytes(tar, f"blobs/{digest.replace(':', '/')}")
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise ValueError(f"{digest} is not what its name says")
    return json.loads(data)


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"no {name}")
    return file.read()
