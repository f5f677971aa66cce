"""Environments: an image's hashed lock, installed once, verified, never written to.

An environment lies at ``envs/<input hash>``; it is complete when its stamp is there.
The wheels come through a cache of the store's own, so that no other tool's mistake in a
shared cache can reach a release.
"""

import base64
import csv
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from recipes.formats.progress import Update
from release.digest import sha256_file
from release.errors import BuildError, MachineError
from release.images import Image
from release.store import Store, durable
from release.store.trace import Kind, point

STAMP = "graftsmith.json"
PHASES = ("Downloading", "Downloaded", " Downloaded", "Prepared", "Installed", "Bytecode", "Resolved")

BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
"""Become a program that ends when the process that started it does."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed environment."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.folder / "bin" / "python"


@functools.cache
def uv_version() -> str:
    """Return the version of uv, which is part of an image's input hash."""
    return uv_record().parent.name.removeprefix("uv-").removesuffix(".dist-info")


def uv_record() -> Path:
    """Return the list of files of this project's uv: it is another file for another version."""
    # By the name of its metadata folder: importlib.metadata is most of what a no-op would import.
    for folder in sys.path:
        for found in Path(folder).glob("uv-*.dist-info/RECORD"):
            return found
    raise MachineError("this project's environment has no uv", hint="run `uv sync` in the project")


def uv() -> Path:
    """Return the uv executable of this project's environment."""
    found = Path(sys.executable).with_name("uv")
    if not found.is_file():
        raise MachineError(f"no uv beside {sys.executable}", hint="run `uv sync` in the project")
    return found


def provide(image: Image, store: Store, progress: Callable[[Update], None]) -> Environment:
    """Return the environment of ``image``, building it first where it is missing.

    Raises BuildError when a wheel cannot be had or does not have its locked hash.
    """
    folder = folder_of(image, store)
    if complete(folder):
        return Environment(folder)
    waiting = Update(at=f"{_at(image)}: another release installs it")
    with store.lock(f"env-{folder.name}", lambda: progress(waiting)) as lock:
        if not complete(folder):
            _build(image, folder, store.root / "cache" / "uv", lock.fd, progress)
    return Environment(folder)


def folder_of(image: Image, store: Store) -> Path:
    """Return where the environment of ``image`` lies, or will."""
    return store.root / "envs" / image.input_hash(uv_version())[:32]


def _build(image: Image, folder: Path, cache: Path, lock_fd: int, progress: Callable[[Update], None]) -> None:
    at = _at(image)
    progress(Update(at=at))
    partial = folder.with_name(f"{folder.name}.partial")
    durable.remove(partial)
    durable.remove(folder)
    partial.parent.mkdir(parents=True, exist_ok=True)
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"

    def tell(line: str) -> None:
        progress(Update(at=f"{at}: {line}"))

    _uv(
        ("venv", "--relocatable", "--no-project", "--python", str(python), str(partial)), cache, lock_fd, tell
    )
    into = ("--python", str(partial / "bin" / "python"), "--link-mode", "hardlink")
    _uv(
        ("pip", "sync", "--require-hashes", "--compile-bytecode", *into, str(image.lock)),
        cache,
        lock_fd,
        tell,
    )
    if image.overlay is not None:
        shutil.copytree(image.overlay, _site_packages(partial), dirs_exist_ok=True)
    _require_unchanged(image)
    size = _verify(
        partial, lambda done, total: progress(Update(at=f"{at}: verifying", done=done, total=total))
    )
    stamp = {"format": 1, "image": image.name, "variant": image.variant, "size": size}
    durable.write(partial / STAMP, json.dumps(stamp).encode())
    durable.rename(partial, folder)


def _require_unchanged(image: Image) -> None:
    """Refuse files other than those that the image's input hash was taken from."""
    for path, file in image.context.files.items():
        now = image.path(path)
        if not now.is_file() or sha256_file(now) != file.sha256:
            raise BuildError(
                f"{now} changed while its environment was installed",
                why="What runs must be what stands in the key of its result.",
                hint="run the same command again",
            )


def _at(image: Image) -> str:
    return f"environment {image.name} ({image.variant})"


def start(program: Sequence[str], lock_fd: int) -> "subprocess.Popen[str]":
    """Start a program that holds the lock as well, and that the kernel ends with this process.

    Without that, a killed release leaves it writing where the next one begins.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BOUND, str(os.getpid()), *program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(lock_fd,),
        text=True,
    )


def _uv(arguments: tuple[str, ...], cache: Path, lock_fd: int, tell: Callable[[str], None]) -> None:
    """Run uv and pass on what it says: it names each large download and each phase."""
    name, said = f"uv {arguments[0]}", list[str]()
    with point(Kind.START, name):
        started = start((str(uv()), "--cache-dir", str(cache), *arguments), lock_fd)
    with started as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith(PHASES):
                tell(line.strip())
        with point(Kind.END, name):
            process.wait()
    if process.returncode != 0:
        raise BuildError(
            f"uv {' '.join(arguments[:2])} failed:\n{''.join(said).strip()[-2000:]}",
            why="The environment must hold exactly what the lock names.",
            hint="check the network, then run the same command again: what was downloaded is kept",
        )


def _site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def installed(store: Store) -> tuple[Path, ...]:
    """Return the folders of all environments of ``store``, finished or not."""
    return tuple(sorted((store.root / "envs").glob("[!.]*")))


def complete(environment: Path) -> bool:
    """Tell whether an environment was installed to its end."""
    return (environment / STAMP).is_file()


def damaged(environment: Path, progress: Callable[[int, int], None]) -> Iterator[Path]:
    """Yield each installed file that is not what its wheel's RECORD says."""
    yield from (Path(bad) for _, bad in _check_all(environment, progress) if bad)


def _verify(environment: Path, progress: Callable[[int, int], None]) -> int:
    """Check each installed file against its wheel's RECORD; return the bytes read."""
    total = 0
    for size, bad in _check_all(environment, progress):
        if bad:
            raise BuildError(f"{bad} is not what its wheel's RECORD says")
        total += size
    return total


def _check_all(environment: Path, progress: Callable[[int, int], None]) -> Iterator[tuple[int, str]]:
    wanted = list(_records(_site_packages(environment)))
    with ThreadPoolExecutor() as pool:
        for count, found in enumerate(pool.map(_check_file, wanted), 1):
            yield found
            if count % 500 == 0:
                progress(count, len(wanted))


def _records(site: Path) -> Iterator[tuple[Path, str]]:
    for record in sorted(site.glob("*.dist-info/RECORD")):
        with record.open(newline="") as file:
            for path, digest, *_ in csv.reader(file):
                # What an installer writes itself (INSTALLER, scripts) has no wheel digest to meet,
                # and bytecode that a wheel happens to hold was compiled anew from its source.
                own = path.startswith("..") or path.endswith(".pyc")
                if digest.startswith("sha256=") and not own:
                    yield site / path, digest.removeprefix("sha256=")


def _check_file(item: tuple[Path, str]) -> tuple[int, str]:
    path, expected = item
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError:
        return 0, str(path)
    encoded = base64.urlsafe_b64encode(found).rstrip(b"=").decode()
    return path.stat().st_size, "" if encoded == expected else str(path)
