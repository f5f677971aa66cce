"""Debian's packages, downloaded through apt's own signatures and unpacked; nothing is installed."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TOOLS = ("apt-get", "dpkg-deb")


def missing() -> str:
    """Say why packages cannot be had on this machine; "" when they can."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"no {' and no '.join(lacking)} here: this is no Debian"
    return "" if KEYRING.is_file() else f"no {KEYRING}: packages could not be verified"


def release() -> str:
    """Return the code name of this machine's Debian, whose C library its binaries fit."""
    found = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else "trixie"


def unpack(root: Path, suite: str, packages: Sequence[str]) -> Path:
    """Return the folder that holds ``packages`` of ``suite``, unpacked; a second call finds it.

    Raises OSError with apt's own words when they cannot be had.
    """
    folder, stamp = root / suite / "files", root / suite / " ".join(sorted(packages))
    if stamp.is_file():
        return folder
    debs = root / suite / "debs"
    for part in ("lists/partial", "cache/archives/partial", "debs"):
        (root / suite / part).mkdir(parents=True, exist_ok=True)
    (root / suite / "status").touch()
    (root / suite / "sources.list").write_text(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n")
    options = {
        "Dir::State::status": root / suite / "status",
        "Dir::State::lists": root / suite / "lists",
        "Dir::Cache": root / suite / "cache",
        "Dir::Etc::sourcelist": root / suite / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "--quiet", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"], debs)
    _run([*apt, "download", *packages], debs)
    for deb in sorted(debs.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(deb), str(folder)], debs)
    stamp.touch()
    return folder


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command[:1])}: {done.stderr.strip()[-500:]}")
